# pyright: reportMissingImports=false
"""Builds checkpoints of real shapes with random weights and tokenizers that are trained here. Downloads nothing.

    python -m benchmarks.models FOLDER [--only minilm,bert-base]

Needs torch, transformers and tokenizers: the environment "torch" of benchmarks/environments.py has them. Tokenizers are
trained on the standard library of the Python that runs this; the embedding keeps the rows of the real model's
vocabulary, so that memory and loading are as they are with the real one.

    minilm        BERT, 6 layers of 384, one label       the shape of cross-encoder/ms-marco-MiniLM-L-6
    bert-base     BERT, 12 layers of 768, two labels
    xlmr-base     XLM-RoBERTa, 12 layers of 768, one label, 250,002 tokens
    qwen2-0.5b    Qwen2, 24 layers of 896, two labels
    qwen3-0.6b    Qwen3, 28 layers of 1024, one label
"""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.trained_tokenizers import bytebpe, corpus, unigram, wordpiece

LAST_FILE = "tokenizer_config.json"  # a checkpoint that has it is complete, and is not built again
ONE_LABEL = {"num_labels": 1}
TWO_LABELS = {"id2label": {0: "NEGATIVE", 1: "POSITIVE"}, "label2id": {"NEGATIVE": 0, "POSITIVE": 1}}
QWEN = {
    "vocab_size": 151936,
    "rope_theta": 1e6,
    "tie_word_embeddings": True,
    "pad_token_id": 0,
    "eos_token_id": 2,
}
# Name -> the model type in transformers' class names, the config's arguments, the tokenizer.
MODELS: dict[str, tuple[str, dict[str, Any], Callable[[Sequence[str], Path], None]]] = {
    "minilm": (
        "Bert",
        {
            "hidden_size": 384,
            "num_hidden_layers": 6,
            "num_attention_heads": 12,
            "intermediate_size": 1536,
            **ONE_LABEL,
        },
        wordpiece,
    ),
    "bert-base": ("Bert", TWO_LABELS, wordpiece),
    "xlmr-base": (
        "XLMRoberta",
        {
            "vocab_size": 250002,
            "max_position_embeddings": 514,
            "type_vocab_size": 1,
            "layer_norm_eps": 1e-5,
            "pad_token_id": 1,
            "bos_token_id": 0,
            "eos_token_id": 2,
            **ONE_LABEL,
        },
        unigram,
    ),
    "qwen2-0.5b": (
        "Qwen2",
        {
            "hidden_size": 896,
            "intermediate_size": 4864,
            "num_hidden_layers": 24,
            "num_attention_heads": 14,
            "num_key_value_heads": 2,
            "max_position_embeddings": 32768,
            **QWEN,
            **TWO_LABELS,
        },
        bytebpe,
    ),
    "qwen3-0.6b": (
        "Qwen3",
        {
            "hidden_size": 1024,
            "intermediate_size": 3072,
            "num_hidden_layers": 28,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "max_position_embeddings": 40960,
            **QWEN,
            **ONE_LABEL,
        },
        bytebpe,
    ),
}


def build(name: str, folder: Path, texts: Sequence[str]) -> dict[str, Any]:
    """Writes one checkpoint; says what it is."""
    import torch
    import transformers

    kind, options, train = MODELS[name]
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**options)
    model = getattr(transformers, f"{kind}ForSequenceClassification")(config).eval()
    model.save_pretrained(folder / name)
    train(texts, folder / name)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    return {"model": name, "folder": str(folder / name), "parameters": parameters, **versions}


def main() -> None:
    """Builds the models that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default=",".join(MODELS), help="with commas; default: all")
    args = parser.parse_args()
    missing = [name for name in args.only.split(",") if not (args.folder / name / LAST_FILE).exists()]
    texts = corpus() if missing else []
    for name in missing:
        print(json.dumps(build(name, args.folder, texts)), flush=True)


if __name__ == "__main__":
    main()

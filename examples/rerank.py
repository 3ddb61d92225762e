"""Rerank documents with published models, each with the prompt of its author.

python examples/rerank.py [MODEL]

Without MODEL, a tiny model with random weights stands in for each; its order means nothing, its prompt is the real one.
"""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers, processors

from jaxcls import LLM

QUERY = "What do pandas eat?"
DOCUMENTS = [
    "The capital of France is Paris.",
    "A giant panda eats bamboo for up to fourteen hours a day.",
    "Pandas is a library for tables of data.",
]
QWEN = ["<|im_start|>", "<|im_end|>", "<think>", "</think>"]

# Name on the hub -> architecture in its config.json, special tokens that its prompt needs.
MODELS: dict[str, tuple[str, list[str]]] = {
    "cross-encoder/ms-marco-MiniLM-L6-v2": ("BertForSequenceClassification", []),
    "BAAI/bge-reranker-v2-m3": ("XLMRobertaForSequenceClassification", []),
    "Alibaba-NLP/gte-reranker-modernbert-base": ("ModernBertForSequenceClassification", []),
    "Qwen/Qwen3-Reranker-0.6B": ("Qwen3ForCausalLM", QWEN),
    "mixedbread-ai/mxbai-rerank-base-v2": ("Qwen2ForCausalLM", QWEN[:2]),
    "BAAI/bge-reranker-v2-gemma": ("GemmaForCausalLM", ["<bos>"]),
    "nvidia/llama-nemotron-rerank-1b-v2": ("LlamaBidirectionalForSequenceClassification", []),
    "zeroentropy/zerank-2": ("Qwen3ForCausalLM", QWEN[:2]),
}
MODEL_TYPES = {"Bert": "bert", "XLMRoberta": "xlm-roberta", "ModernBert": "modernbert", "LlamaBidirectional": "llama"}


def rerank(model: str, **options: Any) -> None:
    """The documents, the best first."""
    llm = LLM(model, **options)
    for result in llm.rerank(QUERY, DOCUMENTS, use_tqdm=False):
        print(f"{result.score:8.4f}  {result.document}")


def tiny(folder: Path, name: str) -> Path:
    """A stand-in: the name, the architecture and the special tokens of a published model."""
    architecture, special = MODELS[name]
    path = folder / name
    path.mkdir(parents=True)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    family = architecture.partition("For")[0]
    config: dict[str, Any] = {
        "architectures": [architecture],
        "model_type": MODEL_TYPES.get(family, family.lower()),
        "vocab_size": 400,
        "max_position_embeddings": 600,
        "id2label": {"0": "relevance"},
        **sizes,
    }
    if config["model_type"] in ("qwen2", "qwen3", "gemma", "llama"):
        config |= {"num_key_value_heads": 2, "head_dim": 8}
    if family == "LlamaBidirectional":
        config["pooling"] = "avg"
    (path / "config.json").write_text(json.dumps(config))
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate([*alphabet, "</s>"])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(special)
    tokenizer.add_tokens(["Yes", "yes", "no"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", vocabulary["</s>"])]
    )
    tokenizer.save(str(path / "tokenizer.json"))
    return path


def main() -> None:
    """Reranks with one model, or with a stand-in for each."""
    if len(sys.argv) == 2:
        rerank(sys.argv[1])
        return
    for name in MODELS:
        with TemporaryDirectory() as folder:
            print(name)
            rerank(str(tiny(Path(folder), name)), load_format="dummy", compilation_cache_dir=False)


if __name__ == "__main__":
    main()

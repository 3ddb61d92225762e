"""Goldens of sentence-transformers: `python -m tests.parity.sentence` writes sentence_goldens.json.

It needs sentence-transformers and torch, in an environment of their own. What is written beside the numbers is the
version that made them; the checkpoints are functions of this file. Those of late interaction are also what PyLate 1.6.0
gives (with sentence-transformers 5.3.0), to the seventh digit.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from tests.modules import LINEAR, write_json, write_modules
from tests.tiny import BERT, QWEN3, WORDS, write_checkpoint
from weights.dummy import random_tensor

PATH = Path(__file__).parent / "sentence_goldens.json"
TEXTS = [
    "the cat sat on a mat.",
    "Very happy, not sad",
    "a red dog and a blue cat and a fast dog and the slow cat",
    "tree",
]
VOCAB = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]", "[unused0]", "[unused1]", ".", ",", *WORDS, "[Q] ", "[D] "]
TANH = "torch.nn.modules.activation.Tanh"
WIDTH = 24


@dataclass(frozen=True)
class Case:
    """A checkpoint and what is asked of it.

    Attributes:
        write: makes the checkpoint in a folder.
        calls: arguments of sentence-transformers' `encode`, and of ours; of late interaction, whether they are queries.
        late: whether it embeds tokens.
    """

    write: Callable[[Path], Any]
    calls: tuple[Mapping[str, Any], ...] = ({},)
    late: bool = False
    texts: list[str] = field(default_factory=lambda: TEXTS)


def tokenizer(folder: Path) -> None:
    """A tokenizer of words that transformers reads as well."""
    backend = Tokenizer(models.WordLevel({token: i for i, token in enumerate(VOCAB)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.add_special_tokens(VOCAB[:5])
    backend.add_tokens(["[Q] ", "[D] "])
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    backend.save(str(folder / "tokenizer.json"))
    special = {f"{name.lower()}_token": f"[{name}]" for name in ("PAD", "CLS", "SEP", "UNK", "MASK")}
    names = ["input_ids", "token_type_ids", "attention_mask"]
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 128, "model_input_names": names}
    write_json(folder / "tokenizer_config.json", settings | special)


def base(folder: Path, config: dict[str, Any], *, architecture: str, prefix: str, seed: int = 0) -> Path:
    """A base model as sentence-transformers saves it: no head, no prefix."""
    write_checkpoint(folder, {**config, "architectures": [config["architectures"][0]]}, tokenizer=False, seed=seed)
    tensors = load_file(folder / "model.safetensors")
    kept = {name.removeprefix(prefix): x for name, x in tensors.items() if not name.startswith(("classifier", "score"))}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    write_json(folder / "config.json", {**config, "architectures": [architecture]})
    tokenizer(folder)
    return folder


def bert(folder: Path) -> Path:
    """A BERT of width 24."""
    return base(folder, {**BERT, "model_type": "bert", "pad_token_id": 0}, architecture="BertModel", prefix="bert.")


def dense(rows: int, columns: int, *names: str, seed: int = 0) -> dict[str, np.ndarray]:
    """Tensors of a Dense module."""
    shapes = {"linear.weight": (rows, columns), "linear.bias": (rows,), "residual.weight": (rows, columns)}
    return {name: random_tensor(seed, name, shapes[name]) for name in ("linear.weight", *names)}


def prompts(folder: Path) -> None:
    settings = {"prompts": {"query": "the dog: ", "document": "tree "}, "default_prompt_name": "query"}
    write_modules(bert(folder), settings=settings)


def dense_layers(folder: Path) -> None:
    base(folder, QWEN3, architecture="Qwen3Model", prefix="model.")
    layers = [(dense(40, WIDTH, "linear.bias"), TANH), (dense(12, 40, seed=1), LINEAR)]
    write_modules(folder, pooling="lasttoken", dense=layers, normalize=False)


def colbert(folder: Path, **settings: Any) -> None:
    keys = {"model_type": "ColBERT", "query_length": 12, "document_length": 16, **settings}
    keys = {"query_prefix": "[Q] ", "document_prefix": "[D] ", "skiplist_words": [",", "."], **keys}
    layers = [(dense(8, WIDTH), LINEAR)]
    write_modules(bert(folder), pooling=None, dense=layers, normalize=False, settings=keys)


def stanford(folder: Path) -> None:
    bert(folder)
    tensors = load_file(folder / "model.safetensors")
    tensors = {f"bert.{name}": tensor for name, tensor in tensors.items()} | dense(8, WIDTH)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", {**config, "architectures": ["HF_ColBERT"]})
    metadata = {
        "query_maxlen": 10,
        "doc_maxlen": 18,
        "dim": 8,
        "attend_to_mask_tokens": False,
        "mask_punctuation": True,
    }
    tokens = {"query_token_id": "[unused0]", "doc_token_id": "[unused1]", "similarity": "cosine"}
    write_json(folder / "artifact.metadata", metadata | tokens)


BOTH = ({"is_query": True}, {"is_query": False})
CASES = {
    "prompts": Case(prompts, ({}, {"prompt_name": "document"}, {"prompt": "a blue "}, {"dimensions": 8})),
    "cls": Case(lambda folder: write_modules(bert(folder), pooling="cls")),
    "dense": Case(dense_layers, ({}, {"dimensions": 5})),
    "colbert": Case(colbert, BOTH, late=True),
    "colbert-attends": Case(lambda folder: colbert(folder, attend_to_expansion_tokens=True), BOTH, late=True),
    "colbert-no-expansion": Case(lambda folder: colbert(folder, do_query_expansion=False), BOTH, late=True),
    "colbert-stanford": Case(stanford, BOTH, late=True),
}


def expected(case: Case, folder: Path, call: Mapping[str, Any]) -> list[Any]:
    """What sentence-transformers makes of the texts."""
    from sentence_transformers import MultiVectorEncoder, SentenceTransformer

    options = dict(call)
    if case.late:
        model = MultiVectorEncoder(str(folder), device="cpu")
        encode = model.encode_query if options.pop("is_query") else model.encode_document
        return [np.asarray(rows, np.float32) for rows in encode(case.texts, convert_to_numpy=True)]
    model = SentenceTransformer(str(folder), device="cpu")
    dimensions = options.pop("dimensions", None)
    normalise = dimensions is not None and any(type(module).__name__ == "Normalize" for module in model)
    return list(model.encode(case.texts, truncate_dim=dimensions, normalize_embeddings=normalise, **options))


def main() -> None:
    """Writes the goldens."""
    import sentence_transformers
    import torch

    version = f"sentence-transformers {sentence_transformers.__version__}, torch {torch.__version__.split('+')[0]}"
    written: dict[str, Any] = {}
    for name, case in CASES.items():
        for number, call in enumerate(case.calls):
            with TemporaryDirectory() as folder:
                case.write(Path(folder))
                rows = expected(case, Path(folder), call)
            written[f"{name}-{number}"] = [np.round(x.astype(np.float64), 7).tolist() for x in rows]
    lines = [
        f"{json.dumps(k)}: {json.dumps(v, separators=(',', ':'))}" for k, v in {"made_with": version, **written}.items()
    ]
    PATH.write_text("{" + ",\n ".join(lines) + "}\n")


if __name__ == "__main__":
    main()

"""Tiny checkpoints with random weights, as files: what a user would point `LLM` at."""

import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from jaxcls.config.hf import HfView
from jaxcls.registry import find_architecture
from weights.dummy import random_tensor

WORDS = "the a cat dog sat ran on under mat tree happy sad very not and but blue red fast slow".split()
SPECIAL = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]

BERT: dict[str, Any] = {
    "architectures": ["BertForSequenceClassification"],
    "model_type": "bert",
    "vocab_size": 64,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "max_position_embeddings": 160,
    "id2label": {"0": "negative", "1": "neutral", "2": "positive"},
}
QWEN3: dict[str, Any] = {
    "architectures": ["Qwen3ForSequenceClassification"],
    "model_type": "qwen3",
    "vocab_size": 64,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 6,
    "intermediate_size": 40,
    "max_position_embeddings": 300,
    "pad_token_id": 0,
}


def write_checkpoint(path: Path, config: dict[str, Any], *, tokenizer: bool = True, seed: int = 0) -> Path:
    """Writes config.json, model.safetensors and, if asked, a word-level tokenizer."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(json.dumps(config))
    save_file(tensors(config, seed), str(path / "model.safetensors"))
    if tokenizer:
        word_tokenizer().save(str(path / "tokenizer.json"))
    return path


def tensors(config: dict[str, Any], seed: int = 0) -> dict[str, np.ndarray]:
    """The checkpoint's tensors, by the names that its architecture's rules give them."""
    architecture = find_architecture(config["architectures"][0])
    cfg = architecture.config(HfView(config))
    module = nnx.eval_shape(lambda: architecture.build(cfg, nnx.Rngs(0), jnp.dtype(jnp.float32), False))
    _, state = nnx.split(module)
    shapes = {".".join(map(str, path)): leaf.get_value().shape for path, leaf in nnx.to_flat_state(state)}
    result = {}
    for rule in architecture.weights(cfg).rules:
        for layer in range(cfg.num_layers) if rule.layered else (None,):
            target = rule.target_at(layer)
            if target in shapes and rule.default is None:
                (name,) = rule.sources_at(layer)
                result[name] = random_tensor(seed, name, shapes[target])
    return result


def word_tokenizer() -> Tokenizer:
    """One token a word; [CLS] a [SEP] b [SEP]."""
    vocab = {token: i for i, token in enumerate([*SPECIAL, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
    )
    return tokenizer

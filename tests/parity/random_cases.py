"""Random configurations: combinations of flags that the declared cases toggle one at a time."""

import random
from collections.abc import Iterator
from typing import Any

from tests.parity.bert_like_cases import ALBERT, CAMEMBERT, ELECTRA, ERNIE
from tests.parity.cases import Case, make_prompts, override
from tests.parity.decoder_cases import BASES, ROPES
from tests.parity.encoder_cases import ACTIVATIONS, BERT, ROBERTA, XLM_ROBERTA

ENCODERS = (BERT, ROBERTA, XLM_ROBERTA, ERNIE, ELECTRA, ALBERT, CAMEMBERT)
ROBERTA_POSITIONS = ("roberta", "xlm-roberta", "camembert")


def random_cases(count: int, seed: int = 0) -> Iterator[Case]:
    """`count` cases, the same for the same seed: every second an encoder, architectures in turn."""
    rng = random.Random(seed)
    for index in range(count):
        encoder = index % 2 == 0
        bases = ENCODERS if encoder else tuple(BASES.values())
        base = bases[index // 2 % len(bases)]
        config = override(base, _encoder(rng) if encoder else _decoder(rng, base["model_type"]))
        name = f"random-{seed}-{index}-{config['model_type']}"
        offset = config["pad_token_id"] + 1 if config["model_type"] in ROBERTA_POSITIONS else 0
        longest = config["max_position_embeddings"] - offset
        if "dynamic" in str(config):
            longest *= 2
        lengths = (1, *(rng.randint(2, min(longest, 90)) for _ in range(3)), min(longest, 90))
        types = encoder and config["type_vocab_size"] > 1
        yield Case(
            name, config, make_prompts(name, config, lengths, pads=config["pad_token_id"] is not None, types=types)
        )


def _encoder(rng: random.Random) -> dict[str, Any]:
    heads = rng.choice([1, 2, 3, 5])
    return {
        "hidden_act": rng.choice(["gelu", *ACTIVATIONS]),
        "hidden_size": heads * rng.choice([3, 6, 10, 11]),
        "intermediate_size": rng.randint(7, 70),
        "layer_norm_eps": rng.choice([1e-12, 1e-5, 1e-2]),
        "max_position_embeddings": rng.randint(24, 60),
        "num_attention_heads": heads,
        "num_hidden_layers": rng.randint(1, 4),
        "num_labels": rng.randint(1, 6),
        "pad_token_id": rng.randint(0, 8),
        "type_vocab_size": rng.randint(1, 3),
        "vocab_size": rng.randint(20, 120),
    }


def _decoder(rng: random.Random, model_type: str) -> dict[str, Any]:
    groups, kv_heads = rng.choice([1, 2, 3]), rng.choice([1, 2, 3])
    layers = rng.randint(1, 4)
    changes: dict[str, Any] = {
        "head_dim": rng.choice([4, 6, 10, 16, 22]),
        "hidden_act": rng.choice(["silu", "gelu_pytorch_tanh", "relu", "gelu_new"]),
        "hidden_size": groups * kv_heads * rng.choice([5, 8, 12]),
        "intermediate_size": rng.randint(7, 70),
        "num_attention_heads": groups * kv_heads,
        "num_hidden_layers": layers,
        "num_key_value_heads": kv_heads,
        "num_labels": rng.randint(1, 6),
        "pad_token_id": rng.choice([None, 0, 5]),
        "rms_norm_eps": rng.choice([1e-6, 1e-5, 1e-2]),
        "tie_word_embeddings": rng.random() < 0.5,
        "vocab_size": rng.randint(20, 120),
    }
    changes.update(rng.choice(list(ROPES.values())), head_dim=changes["head_dim"])
    if model_type != "qwen2":
        changes["attention_bias"] = rng.random() < 0.5
    if model_type == "llama":
        changes["mlp_bias"] = rng.random() < 0.5
    if model_type.startswith("qwen"):
        changes["use_sliding_window"] = rng.random() < 0.7
        changes["sliding_window"] = rng.randint(1, 12)
        changes["max_window_layers"] = rng.randint(0, layers)
    return changes

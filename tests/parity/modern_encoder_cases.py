"""Parity cases of ModernBert and EuroBert: encoders with rotary positions and norms before each part of a layer."""

from collections.abc import Iterator, Mapping
from typing import Any

from tests.parity.cases import DROP, Axis, Case, Space, independent, make_prompts, override, tasks
from tests.parity.decoder_cases import AXES, COUNTS, ROPE_AXIS, SIZES
from tests.parity.encoder_cases import ACTIVATIONS, LABELS
from tests.parity.rotary_encoder_cases import EVEN_SIZES, LINEAR

MODERNBERT: dict[str, Any] = {
    "architectures": ["ModernBertForSequenceClassification"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "classifier_activation": "gelu",
    "classifier_bias": False,
    "classifier_dropout": 0.0,
    "classifier_pooling": "cls",
    "decoder_bias": True,
    "deterministic_flash_attn": False,
    "embedding_dropout": 0.0,
    "global_attn_every_n_layers": 2,
    "global_rope_theta": 160000.0,
    "hidden_activation": "gelu",
    "hidden_size": 24,
    "initializer_cutoff_factor": 2.0,
    "intermediate_size": 28,
    "layer_norm_eps": 1e-05,
    "local_attention": 6,
    "local_rope_theta": 10000.0,
    "max_position_embeddings": 64,
    "mlp_bias": False,
    "mlp_dropout": 0.0,
    "model_type": "modernbert",
    "norm_bias": False,
    "norm_eps": 1e-05,
    "num_attention_heads": 2,
    "num_hidden_layers": 3,
    "pad_token_id": 4,
    "position_embedding_type": "absolute",
    "reference_compile": True,
    "sparse_pred_ignore_index": -100,
    "sparse_prediction": False,
    "transformers_version": "4.48.0",
    "vocab_size": 97,
}
EUROBERT: dict[str, Any] = {
    "architectures": ["EuroBertForSequenceClassification"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "classifier_pooling": "late",
    "head_dim": 12,
    "hidden_act": "silu",
    "hidden_dropout": 0.0,
    "hidden_size": 36,
    "intermediate_size": 44,
    "mask_token_id": 3,
    "max_position_embeddings": 64,
    "mlp_bias": False,
    "model_type": "eurobert",
    "num_attention_heads": 3,
    "num_hidden_layers": 2,
    "num_key_value_heads": 3,
    "pad_token_id": 2,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "rope_theta": 250000,
    "vocab_size": 97,
}


def _v5(**by_type: dict[str, Any]) -> dict[str, Any]:
    """ModernBERT's ropes and layers in the spelling of transformers 5."""
    types = ["sliding_attention", "full_attention", "sliding_attention"]
    dropped = dict.fromkeys(("global_attn_every_n_layers", "global_rope_theta", "local_rope_theta"), DROP)
    return {"layer_types": types, "rope_parameters": by_type, **dropped}


VARIANTS: dict[str, tuple[dict[str, Any], dict[str, dict[str, Any]]]] = {
    "modernbert": (
        MODERNBERT,
        {
            "mean": {"classifier_pooling": "mean"},
            "attention-bias": {"attention_bias": True},
            "mlp-bias": {"mlp_bias": True},
            "norm-bias": {"norm_bias": True},
            "classifier-bias": {"classifier_bias": True},
            "classifier-act-silu": {"classifier_activation": "silu"},
            "act-relu": {"hidden_activation": "relu"},
            "eps-large": {"norm_eps": 0.05},
            "head-6": {"num_attention_heads": 4},
            "labels-1": LABELS["labels-1"],
            "window-of-1": {"local_attention": 1},
            "window-odd": {"local_attention": 9},
            "layers-every-3": {"global_attn_every_n_layers": DROP, "num_hidden_layers": 5},
            "layers-all-full": {"global_attn_every_n_layers": 1},
            "thetas": {"global_rope_theta": 500.0, "local_rope_theta": 50.0},
            "thetas-none-given": {"global_rope_theta": DROP, "local_rope_theta": DROP},
            "rope-linear-v4": {"rope_scaling": LINEAR},
            "layers-v5": _v5(
                sliding_attention={"rope_type": "default", "rope_theta": 700.0},
                full_attention={**LINEAR, "rope_theta": 30.0},
            ),
        },
    ),
    "eurobert": (
        EUROBERT,
        {
            "bos": {"classifier_pooling": "bos"},
            "mean": {"classifier_pooling": "mean"},
            "pooling-none-given": {"classifier_pooling": DROP},
            "pooling-published": {"classifier_pooling": DROP, "clf_pooling": "bos"},
            "gqa": {"num_attention_heads": 4, "num_key_value_heads": 2},
            "all-biases": {"attention_bias": True, "mlp_bias": True},
            "head-6": {"head_dim": 6},
            "act-gelu": {"hidden_act": "gelu"},
            "eps-none-given": {"rms_norm_eps": DROP},
            "rope-linear": {"rope_scaling": {"type": "linear", "factor": 2.5}},
            "labels-1": LABELS["labels-1"],
        },
    ),
}

TOKENS: dict[str, tuple[dict[str, Any], dict[str, dict[str, Any]]]] = {
    "modernbert-tokens": (MODERNBERT, {"mean": {"classifier_pooling": "mean"}}),
    "eurobert-tokens": (EUROBERT, {"bos": {"classifier_pooling": "bos"}}),
}


# The types of layers and their ropes, in both spellings.
_LAYERS: Axis = [
    {"global_attn_every_n_layers": every, "rope_scaling": scaling, "num_hidden_layers": layers}
    for every in (DROP, 1, 2, 3)
    for scaling in (DROP, LINEAR)
    for layers in range(1, 5)
] + [{**VARIANTS["modernbert"][1]["layers-v5"], "num_hidden_layers": 3}] * 10
SPACES = [
    Space(
        "modernbert",
        MODERNBERT,
        (
            EVEN_SIZES,
            *COUNTS,
            *independent(
                attention_bias=(True, False),
                classifier_activation=("gelu", "silu"),
                classifier_bias=(True, False),
                classifier_pooling=("cls", "mean"),
                global_rope_theta=(DROP, 500.0),
                hidden_activation=("gelu", *ACTIVATIONS),
                intermediate_size=range(7, 71),
                local_attention=range(1, 17),
                local_rope_theta=(DROP, 50.0),
                max_position_embeddings=range(24, 61),
                mlp_bias=(True, False),
                norm_bias=(True, False),
                norm_eps=(1e-5, 1e-2),
                pad_token_id=range(9),
                vocab_size=range(20, 121),
            ),
            _LAYERS,
            tasks(MODERNBERT),
        ),
    ),
    Space(
        "eurobert",
        EUROBERT,
        (
            *AXES,
            *COUNTS,
            ROPE_AXIS,
            SIZES,
            *independent(attention_bias=(True, False), mlp_bias=(True, False)),
            [
                {"classifier_pooling": DROP, "clf_pooling": "bos"},
                *({"classifier_pooling": x} for x in ("bos", "mean", "late", DROP)),
            ],
            tasks(EUROBERT),
        ),
    ),
]


def _case(name: str, base: Mapping[str, Any], changes: Mapping[str, Any], **inputs: Any) -> Case:
    config = override(base, changes)
    lengths = inputs.pop("lengths", (1, 2, 11, 33))
    return Case(name, config, make_prompts(name, config, lengths, **inputs))


def cases() -> Iterator[Case]:
    """One case per variant of the tables above, each a change of one thing from its architecture's base."""
    for prefix, (base, variants) in VARIANTS.items():
        yield _case(f"{prefix}-base", base, {}, pads=True)
        for variant, changes in variants.items():
            yield _case(f"{prefix}-{variant}", base, changes)
    for prefix, (base, variants) in TOKENS.items():
        name = base["architectures"][0].replace("Sequence", "Token")
        for variant, changes in {"base": {}, **variants}.items():
            yield _case(f"{prefix}-{variant}", base, {"architectures": [name], **changes}, lengths=(1, 2, 9))

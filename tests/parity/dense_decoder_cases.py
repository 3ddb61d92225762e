"""Parity cases of the dense decoders after Llama, Qwen and Gemma: their kin, their token heads, their reward models."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from tests.parity.cases import DROP, Axis, Case, Space, independent, make_prompts, override, tasks
from tests.parity.decoder_cases import AXES, BIASES, COUNTS, GEMMA, LLAMA, QWEN2, ROPE_AXIS, SIZES, WINDOW_AXES
from tests.parity.decoder_cases import BASES as OLDER
from tests.parity.encoder_cases import LABELS, NARROWEST

MISTRAL: dict[str, Any] = override(
    LLAMA,
    {
        "architectures": ["MistralForSequenceClassification"],
        "attention_bias": DROP,
        "mlp_bias": DROP,
        "model_type": "mistral",
        "pretraining_tp": DROP,
        "sliding_window": 8,
    },
)
PHI3: dict[str, Any] = override(
    MISTRAL,
    {
        "architectures": ["Phi3ForSequenceClassification"],
        "attention_bias": False,
        "embd_pdrop": 0.0,
        "model_type": "phi3",
        "original_max_position_embeddings": 64,
        "resid_pdrop": 0.0,
        "sliding_window": 9,
    },
)
GEMMA2: dict[str, Any] = override(
    GEMMA,
    {
        "architectures": ["Gemma2ForSequenceClassification"],
        "attn_logit_softcapping": 50.0,
        "cache_implementation": "hybrid",
        "final_logit_softcapping": 30.0,
        "hidden_activation": "gelu_pytorch_tanh",
        "model_type": "gemma2",
        "num_hidden_layers": 3,
        "num_key_value_heads": 2,
        "query_pre_attn_scalar": 14,
        "sliding_window": 6,
    },
)
GEMMA3: dict[str, Any] = override(
    GEMMA2,
    {
        "architectures": ["Gemma3TextForSequenceClassification"],
        "attn_logit_softcapping": None,
        "hidden_act": DROP,
        "model_type": "gemma3_text",
        "rope_local_base_freq": 50.0,
        "rope_theta": 2000.0,
        "sliding_window_pattern": 3,
    },
)
LLAMA_BIDIREC: dict[str, Any] = override(
    LLAMA,
    {
        "architectures": ["LlamaBidirectionalForSequenceClassification"],
        "model_type": "llama_bidirec",
        "pooling": "avg",
    },
)
INTERNLM2: dict[str, Any] = override(
    LLAMA,
    {
        "architectures": ["InternLM2ForRewardModel"],
        "attention_bias": DROP,
        "attn_implementation": "eager",
        "bias": False,
        "mlp_bias": DROP,
        "model_type": "internlm2",
        "reward_token_id": 92,
    },
)
QWEN2_RM: dict[str, Any] = override(QWEN2, {"architectures": ["Qwen2ForRewardModel"]})
QWEN2_PRM: dict[str, Any] = override(QWEN2, {"architectures": ["Qwen2ForProcessRewardModel"]})

BASES: dict[str, dict[str, Any]] = {
    "mistral": MISTRAL,
    "phi3": PHI3,
    "gemma2": GEMMA2,
    "gemma3": GEMMA3,
    "llama-bidirec": LLAMA_BIDIREC,
    "internlm2-rm": INTERNLM2,
    "qwen2-rm": QWEN2_RM,
    "qwen2-prm": QWEN2_PRM,
}
SEQUENCES = {**OLDER, "mistral": MISTRAL, "phi3": PHI3, "gemma2": GEMMA2}
TOKENS: dict[str, dict[str, Any]] = {
    name: override(
        base,
        {
            **LABELS["labels-3-names"],
            "architectures": [base["architectures"][0].replace("Sequence", "Token")],
            "problem_type": DROP,
        },
    )
    for name, base in SEQUENCES.items()
}

# Of a model trained for 16 tokens; heads of 10.
_FACTORS = {"short_factor": [1.0, 1.1, 1.2, 1.5, 2.0], "long_factor": [1.0, 1.5, 2.5, 4.0, 7.0]}
_V5 = {"rope_scaling": DROP, "rope_theta": DROP}
LLAMA_ROPES: dict[str, dict[str, Any]] = {
    "longrope-v4": {"rope_scaling": {"type": "longrope", **_FACTORS, "original_max_position_embeddings": 16}},
    "longrope-factor": {
        **_V5,
        "original_max_position_embeddings": 16,
        "rope_parameters": {"rope_type": "longrope", **_FACTORS, "factor": 6.0, "rope_theta": 500.0},
    },
    "longrope-attention-factor": {
        "rope_scaling": {
            "rope_type": "longrope",
            **_FACTORS,
            "attention_factor": 0.8,
            "original_max_position_embeddings": 16,
        }
    },
    "proportional": {
        **_V5,
        "rope_parameters": {
            "rope_type": "proportional",
            "factor": 1.5,
            "partial_rotary_factor": 0.6,
            "rope_theta": 100.0,
        },
    },
}

_LONG = {"original_max_position_embeddings": 16}
_KINDS = ["sliding_attention", "full_attention", "sliding_attention"]
OWN: dict[str, dict[str, dict[str, Any]]] = {
    "mistral": {
        "window-null": {"sliding_window": None},
        "window-absent": {"sliding_window": DROP},
        "mha": {"num_key_value_heads": 4},
        "head-24": {"head_dim": 24},
        "rope-linear": {"rope_scaling": {"type": "linear", "factor": 2.5}},
        "labels-1": LABELS["labels-1"],
    },
    "phi3": {
        "window-null": {"sliding_window": None},
        "mha": {"num_key_value_heads": DROP},
        "mlp-odd": {"intermediate_size": 33},
        "eps-absent": {"rms_norm_eps": DROP},
        "rope-partial": {"hidden_size": 32, "partial_rotary_factor": 0.75},
        "rope-longrope": {**_LONG, "rope_scaling": {"type": "longrope", **_FACTORS}},
        "rope-longrope-su": {
            **_LONG,
            "rope_scaling": {"type": "su", **_FACTORS, "original_max_position_embeddings": 16},
        },
        "rope-longrope-partial": {
            **_LONG,
            "hidden_size": 32,
            "partial_rotary_factor": 0.75,
            "rope_scaling": {
                "type": "longrope",
                "short_factor": [1.0, 1.2, 1.5],
                "long_factor": [1.5, 2.5, 6],
            },
        },
        "rope-longrope-v5": {
            **_V5,
            **_LONG,
            "rope_parameters": {
                "rope_type": "longrope",
                **_FACTORS,
                "original_max_position_embeddings": 16,
                "partial_rotary_factor": 1.0,
                "rope_theta": 500.0,
            },
        },
        "labels-1": LABELS["labels-1"],
    },
    "gemma2": {
        # Scores of random models are small: only a low cap is felt.
        "soft-cap-low": {"attn_logit_softcapping": 0.3},
        "soft-cap-null": {"attn_logit_softcapping": None},
        "scale-3": {"query_pre_attn_scalar": 3},
        "window-of-2": {"sliding_window": 2},
        "window-layer-types": {"layer_types": ["full_attention", "sliding_attention", "sliding_attention"]},
        "attention-bias": {"attention_bias": True},
        "act-silu": {"hidden_activation": "silu"},
        "mqa": {"num_key_value_heads": 1},
        "labels-1": LABELS["labels-1"],
    },
    "gemma3": {
        "window-of-2": {"sliding_window": 2},
        "window-bidirectional": {"use_bidirectional_attention": True},
        "window-layer-types": {"layer_types": _KINDS, "sliding_window_pattern": DROP, "_sliding_window_pattern": 6},
        "layers-all-sliding": {"sliding_window_pattern": DROP},
        "layers-all-full": {"layer_types": ["full_attention"] * 3},
        "layers-rope-linear": {"rope_scaling": {"rope_type": "linear", "factor": 4.0}},
        "layers-rope-v5": {
            **_V5,
            "layer_types": _KINDS,
            "rope_local_base_freq": DROP,
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 2.0, "rope_theta": 3000.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 30.0},
            },
            "sliding_window_pattern": DROP,
        },
        "rope-thetas-absent": {"rope_theta": DROP, "rope_local_base_freq": DROP},
        "scale-3": {"query_pre_attn_scalar": 3},
        "attention-bias": {"attention_bias": True},
        "labels-1": LABELS["labels-1"],
    },
    "llama-bidirec": {
        "pooling-cls": {"pooling": "cls"},
        "causal": {"is_causal": True},
        "temperature": {"temperature": 0.4},
        "attention-bias": {"attention_bias": True},
        "labels-1": LABELS["labels-1"],
    },
    "internlm2-rm": {
        "bias": {"bias": True},
        "bias-absent": {"bias": DROP, "num_key_value_heads": 1},
        "kv-heads-absent": {"num_key_value_heads": DROP},
        "rope-dynamic": {"rope_scaling": {"type": "dynamic", "factor": 2.0}, "max_position_embeddings": 24},
    },
    "qwen2-rm": {
        "labels-1": LABELS["labels-1"],
        "window-all-layers": {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 0},
    },
    "qwen2-prm": {"labels-num": {"num_labels": 2}},
}

_SHARED = (*AXES, *COUNTS, SIZES)
_PLAIN_SIZES: Axis = [
    {"num_attention_heads": groups * kv, "num_key_value_heads": kv, "hidden_size": groups * kv * width}
    for groups, kv, width in itertools.product((1, 2, 3), (1, 2, 3), (4, 6, 10, 16))
    if groups * kv * width >= NARROWEST
]
_WINDOW = independent(sliding_window=range(1, 13))
_SCALES = independent(query_pre_attn_scalar=(3, 14, 200), hidden_activation=("gelu_pytorch_tanh", "silu"))


def _kinds(*layers: int) -> Axis:
    return [{"num_hidden_layers": n, "layer_types": [_KINDS[(n + i) % 3] for i in range(n)]} for n in layers]


def _phi3_ropes() -> Axis:
    """Heads of 8 or 16, of which a part is rotated, with as many factors as that needs."""
    changes: list[dict[str, Any]] = []
    for size, part in itertools.product(_PLAIN_SIZES, (0.5, 0.75, 1.0)):
        width = int(size["hidden_size"] // size["num_attention_heads"] * part)
        if width % 2:
            continue
        factors = {
            "short_factor": [1 + 0.2 * i for i in range(width // 2)],
            "long_factor": [1.5 + i for i in range(width // 2)],
        }
        older = {**size, "partial_rotary_factor": part}
        newer = {"rope_type": "longrope", **factors, "partial_rotary_factor": part, "rope_theta": 500.0}
        changes += [older, {**older, "rope_scaling": {"type": "longrope", **factors}}]
        changes += [{**size, **_V5, "rope_parameters": newer}]
    return changes


SPACES = [
    # Factors for heads of 10.
    Space(
        "llama-ropes",
        LLAMA,
        (*_SHARED, *BIASES, list(LLAMA_ROPES.values()), *independent(head_dim=(10,)), tasks(LLAMA)),
    ),
    Space(
        "mistral",
        MISTRAL,
        (*_SHARED, ROPE_AXIS, SIZES, *independent(sliding_window=(None, DROP, *range(1, 13))), tasks(MISTRAL)),
    ),
    Space(
        "phi3",
        PHI3,
        (
            *AXES,
            *COUNTS,
            *independent(original_max_position_embeddings=(16, 64), sliding_window=(None, DROP, *range(1, 13))),
            _phi3_ropes(),
            tasks(PHI3),
        ),
    ),
    Space(
        "gemma2",
        GEMMA2,
        (
            *_SHARED,
            *BIASES,
            *_WINDOW,
            *_SCALES,
            *independent(attn_logit_softcapping=(None, 0.3, 50.0)),
            [{}, *_kinds(1, 2, 3, 4)],
            tasks(GEMMA2),
        ),
    ),
    Space(
        "gemma3",
        GEMMA3,
        (
            *_SHARED,
            *BIASES,
            *_WINDOW,
            *_SCALES,
            *independent(sliding_window_pattern=(DROP, 1, 2, 3), use_bidirectional_attention=(True, False)),
            [{}, *_kinds(1, 2, 3, 4)],
            [{}, *(OWN["gemma3"][name] for name in ("layers-rope-linear", "rope-thetas-absent"))],
            [{}, {}, {**OWN["gemma3"]["layers-rope-v5"], "num_hidden_layers": 3}],
        ),
    ),
    Space(
        "llama-bidirec",
        LLAMA_BIDIREC,
        (
            *_SHARED,
            ROPE_AXIS,
            SIZES,
            *BIASES,
            *independent(
                is_causal=(True, False, False),
                mlp_bias=(True, False),
                pooling=("avg", "cls", "last"),
                temperature=(DROP, 0.4, 3.0),
            ),
        ),
    ),
    Space("internlm2-rm", INTERNLM2, (*AXES, ROPE_AXIS, _PLAIN_SIZES, *independent(bias=(True, False, DROP)))),
    Space("qwen2-rm", QWEN2_RM, (*AXES, ROPE_AXIS, SIZES, *WINDOW_AXES)),
    Space("qwen2-prm", QWEN2_PRM, (*AXES, ROPE_AXIS, SIZES, *WINDOW_AXES)),
]


def _case(prefix: str, variant: str, base: Mapping[str, Any], changes: Mapping[str, Any], **inputs: Any) -> Case:
    name = f"{prefix}-{variant}"
    config = override(base, changes)
    rope = "longrope" in variant or "dynamic" in variant
    plain = (1, 2, 11) if prefix == "qwen2-prm" else (1, 2, 11, 29)  # one row a token
    lengths = inputs.pop("lengths", (1, 16, 17, 45) if rope else plain)
    return Case(name, config, make_prompts(name, config, lengths, **inputs))


def cases() -> Iterator[Case]:
    """One case per variant of the tables above, each a change of one thing from its architecture's base."""
    for prefix, base in BASES.items():
        yield _case(prefix, "base", base, {}, pads=True)
        for variant, changes in OWN[prefix].items():
            yield _case(prefix, variant, base, changes)
    yield _case("llama-bidirec", "pooling-last", LLAMA_BIDIREC, {"pooling": "last"}, pads=True)
    yield _case("mistral", "no-pad-id", MISTRAL, {"pad_token_id": None})
    for variant, changes in LLAMA_ROPES.items():
        yield _case("llama", f"rope-{variant}", LLAMA, changes)
    for prefix, base in TOKENS.items():
        yield _case(f"{prefix}-tokens", "base", base, {}, lengths=(1, 2, 11))
    yield _case("qwen2-tokens", "no-bias", TOKENS["qwen2"], {"token_classification_bias": False}, lengths=(1, 9))

"""Parity cases of mixtures of experts: Qwen2Moe and Qwen3Moe, for sequences and for tokens."""

from collections.abc import Iterator, Mapping
from typing import Any

from tests.parity.cases import DROP, Axis, Case, Space, independent, make_prompts, override, tasks
from tests.parity.decoder_cases import AXES, BIASES, COUNTS, QWEN2, QWEN3, ROPE_AXIS, SIZES

EXPERTS: dict[str, Any] = {
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "moe_intermediate_size": 20,
    "norm_topk_prob": False,
    "num_experts": 5,
    "num_experts_per_tok": 2,
    "output_router_logits": False,
    "router_aux_loss_coef": 0.001,
}
QWEN2_MOE: dict[str, Any] = override(
    QWEN2,
    {
        **EXPERTS,
        "architectures": ["Qwen2MoeForSequenceClassification"],
        "model_type": "qwen2_moe",
        "shared_expert_intermediate_size": 28,
        "tie_word_embeddings": False,
    },
)
QWEN3_MOE: dict[str, Any] = override(
    QWEN3,
    {
        **EXPERTS,
        "architectures": ["Qwen3MoeForSequenceClassification"],
        "model_type": "qwen3_moe",
        "norm_topk_prob": True,
        "tie_word_embeddings": False,
    },
)
BASES: dict[str, dict[str, Any]] = {"qwen2moe": QWEN2_MOE, "qwen3moe": QWEN3_MOE}

_WINDOW = {"use_sliding_window": True, "sliding_window": 3, "num_hidden_layers": 3}
SHARED: dict[str, dict[str, Any]] = {
    "top-1": {"num_experts_per_tok": 1},
    "top-all": {"num_experts_per_tok": 5},
    "experts-23": {"num_experts": 23, "num_experts_per_tok": 3, "moe_intermediate_size": 9},
    "layers-sparse-step-2": {"decoder_sparse_step": 2, "num_hidden_layers": 3},
    "layers-mlp-only": {"mlp_only_layers": [1], "num_hidden_layers": 3},
    "layers-dense": {"decoder_sparse_step": 3},
}
OWN: dict[str, dict[str, dict[str, Any]]] = {
    "qwen2moe": {
        "normalised": {"norm_topk_prob": True},
        "no-qkv-bias": {"qkv_bias": False},
        "act-gelu": {"hidden_act": "gelu"},
        "window": {**_WINDOW, "max_window_layers": 2},
        "window-layer-types": {
            **_WINDOW,
            "layer_types": ["full_attention", "sliding_attention", "sliding_attention"],
        },
    },
    "qwen3moe": {
        "unnormalised": {"norm_topk_prob": False},
        "attention-bias": {"attention_bias": True},
        "head-dim-absent": {"head_dim": DROP, "hidden_size": 40},
        "window": {**_WINDOW, "max_window_layers": 2},
        # transformers 5 saves the number of experts by another name.
        "v5-config": {
            "num_experts": DROP,
            "num_local_experts": 5,
            "rope_theta": DROP,
            "rope_scaling": DROP,
            "rope_parameters": {"rope_type": "default", "rope_theta": 500.0},
        },
    },
}

_AXES: tuple[Axis, ...] = (
    *AXES,
    *COUNTS,
    ROPE_AXIS,
    SIZES,
    *independent(
        decoder_sparse_step=(1, 1, 2, 3),
        max_window_layers=range(5),
        mlp_only_layers=([], [0]),
        moe_intermediate_size=range(7, 41),
        norm_topk_prob=(True, False),
        sliding_window=range(1, 13),
        use_sliding_window=(True, False),
    ),
    [
        {"num_experts": experts, "num_experts_per_tok": top}
        for experts in (1, 5, 23)
        for top in (1, 2, 3, 5)
        if top <= experts
    ],
)
SPACES = [
    Space(
        "qwen2moe",
        QWEN2_MOE,
        (
            *_AXES,
            *independent(qkv_bias=(True, False), shared_expert_intermediate_size=range(7, 41)),
            [{}, {}, OWN["qwen2moe"]["window-layer-types"]],
            tasks(QWEN2_MOE),
        ),
    ),
    Space("qwen3moe", QWEN3_MOE, (*_AXES, *BIASES, tasks(QWEN3_MOE))),
]


def _case(name: str, base: Mapping[str, Any], changes: Mapping[str, Any], *, pads: bool = False) -> Case:
    config = override(base, changes)
    return Case(name, config, make_prompts(name, config, (1, 2, 13, 47), pads=pads))


def cases() -> Iterator[Case]:
    """One case per variant of the tables above, each a change of one thing from its architecture's base."""
    for prefix, base in BASES.items():
        yield _case(f"{prefix}-base", base, {}, pads=True)
        for variant, changes in {**SHARED, **OWN[prefix]}.items():
            yield _case(f"{prefix}-{variant}", base, changes)
        tokens = base["architectures"][0].replace("Sequence", "Token")
        config = override(base, {"architectures": [tokens], "num_labels": 3})
        name = f"{prefix}-tokens-base"
        yield Case(name, config, make_prompts(name, config, (1, 4, 9)))

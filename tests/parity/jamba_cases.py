"""Parity cases of Jamba: Mamba and attention layers, with one MLP or with experts."""

from collections.abc import Iterator
from typing import Any

from tests.parity.cases import Case, Space, independent, make_prompts, override
from tests.parity.encoder_cases import NARROWEST

JAMBA: dict[str, Any] = {
    "architectures": ["JambaForSequenceClassification"],
    "attention_dropout": 0.0,
    "attn_layer_offset": 1,
    "attn_layer_period": 2,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "expert_layer_offset": 1,
    "expert_layer_period": 3,
    "hidden_act": "silu",
    "hidden_size": 36,
    "initializer_range": 0.02,
    "intermediate_size": 20,
    "mamba_conv_bias": True,
    "mamba_d_conv": 4,
    "mamba_d_state": 7,
    "mamba_dt_rank": 5,
    "mamba_expand": 2,
    "mamba_proj_bias": False,
    "max_position_embeddings": 64,
    "model_type": "jamba",
    "num_attention_heads": 6,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    # One layer of each kind: Mamba, attention with experts, Mamba, attention, Mamba with experts.
    "num_hidden_layers": 5,
    "num_key_value_heads": 2,
    "num_logits_to_keep": 1,
    "output_router_logits": False,
    "pad_token_id": 0,
    "rms_norm_eps": 1e-6,
    "router_aux_loss_coef": 0.001,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.40.0",
    "use_cache": True,
    "use_mamba_kernels": True,
    "vocab_size": 89,
}
# Two layers: attention with experts, then Mamba.
_TWO = {"num_hidden_layers": 2, "attn_layer_offset": 0, "expert_layer_offset": 0}
VARIANTS: dict[str, dict[str, Any]] = {
    "layers-2": _TWO,
    "dt-rank-auto": {**_TWO, "mamba_dt_rank": "auto"},
    "state-16": {**_TWO, "mamba_d_state": 16},
    "conv-1": {**_TWO, "mamba_d_conv": 1},
    "conv-7": {**_TWO, "mamba_d_conv": 7},
    "expand-3": {**_TWO, "mamba_expand": 3},
    "no-conv-bias": {**_TWO, "mamba_conv_bias": False},
    "proj-bias": {**_TWO, "mamba_proj_bias": True},
    "experts-1": {**_TWO, "num_experts": 1, "num_experts_per_tok": 1},
    "top-1": {**_TWO, "num_experts_per_tok": 1},
    "mha": {**_TWO, "num_key_value_heads": 6},
    "act-gelu": {**_TWO, "hidden_act": "gelu"},
    "eps-large": {**_TWO, "rms_norm_eps": 0.05},
    # transformers cannot make a cache for a model without attention.
    "mamba-only": {"num_hidden_layers": 2, "attn_layer_period": 8, "attn_layer_offset": 4, "use_cache": False},
}

SPACES = [
    Space(
        "jamba",
        # A model without attention layers may be drawn.
        {**JAMBA, "use_cache": False},
        (
            *independent(
                hidden_act=("silu", "gelu"),
                intermediate_size=range(7, 41),
                mamba_conv_bias=(True, False),
                mamba_d_conv=(1, 2, 4, 7),
                mamba_d_state=range(1, 17),
                mamba_dt_rank=("auto", 1, 5),
                mamba_expand=(1, 2, 3),
                mamba_proj_bias=(True, False),
                num_hidden_layers=range(1, 6),
                num_labels=range(1, 7),
                pad_token_id=(None, 0, 5),
                rms_norm_eps=(1e-6, 1e-2),
                vocab_size=range(20, 121),
            ),
            *(
                [
                    {f"{kind}_layer_period": period, f"{kind}_layer_offset": offset}
                    for period in (1, 2, 3, 4)
                    for offset in range(period)
                ]
                for kind in ("attn", "expert")
            ),
            [
                {"num_experts": experts, "num_experts_per_tok": top}
                for experts in (1, 4, 7)
                for top in (1, 2, 3)
                if top <= experts
            ],
            [
                {"num_attention_heads": groups * kv, "num_key_value_heads": kv, "hidden_size": groups * kv * width}
                for groups in (1, 2, 3)
                for kv in (1, 2, 3)
                for width in (5, 6, 8)
                if groups * kv * width >= NARROWEST
            ],
        ),
    )
]


def cases() -> Iterator[Case]:
    """The base, and one case per variant."""
    yield Case("jamba-base", JAMBA, make_prompts("jamba-base", JAMBA, (1, 2, 13, 64), pads=True))
    for variant, changes in VARIANTS.items():
        name, config = f"jamba-{variant}", override(JAMBA, changes)
        yield Case(name, config, make_prompts(name, config, (1, 2, 5, 41)))

"""Qwen2Moe and Qwen3Moe: Qwen2 and Qwen3 with a mixture of experts in place of the MLP, in all layers or in some."""

import dataclasses
from typing import Any

from jaxcls.config.hf import HfView
from jaxcls.layers.moe import MixtureConfig
from jaxcls.models.architecture import Architecture
from jaxcls.models.decoder import DecoderClassifier
from jaxcls.models.decoder_config import DecoderConfig, DecoderDefaults, Windows, decoder_config
from jaxcls.models.decoder_weights import decoder_weights
from jaxcls.models.experts import expert_rules
from weights.rules import Rule, RuleTable

_QWEN2 = DecoderDefaults(
    vocab_size=151936,
    hidden_size=2048,
    intermediate_size=5632,
    num_hidden_layers=24,
    num_attention_heads=16,
    num_key_value_heads=16,
    max_position_embeddings=32768,
)
_QWEN3 = dataclasses.replace(_QWEN2, intermediate_size=6144, num_attention_heads=32, num_key_value_heads=4)


def _windows_qwen2(hf: HfView, num_layers: int) -> Windows:
    """Sliding windows a layer: `layer_types` if given, else every second layer below `max_window_layers`."""
    enabled = hf.bool("use_sliding_window", False)
    width = hf.optional_int("sliding_window", 4096)
    below = hf.int("max_window_layers", 28)
    layer_types = hf.raw("layer_types", None)
    if enabled and not width:
        raise hf.error("sliding_window", width, "use_sliding_window needs its width")
    if layer_types is None:
        return tuple(width if enabled and i % 2 == 0 and i < below else None for i in range(num_layers))
    known = {"full_attention", "sliding_attention"} if enabled else {"full_attention"}
    if len(layer_types) != num_layers or set(layer_types) - known:
        listed = ", ".join(sorted(known))
        raise hf.error("layer_types", layer_types, f"with use_sliding_window = {enabled}, {num_layers} of {listed}")
    return tuple(width if kind == "sliding_attention" else None for kind in layer_types)


def _windows_qwen3(hf: HfView, num_layers: int) -> Windows:
    """One sliding window for all layers."""
    # Written by transformers 4, which did not read it either.
    hf.ignore("max_window_layers")
    width = hf.optional_int("sliding_window", 4096)
    return ((width if hf.bool("use_sliding_window", False) else None),) * num_layers


def _sparse(hf: HfView, num_layers: int, num_experts: int) -> tuple[bool, ...]:
    """Whether each layer has experts: every `decoder_sparse_step`-th that is not in `mlp_only_layers`."""
    step, dense = hf.int("decoder_sparse_step", 1), hf.raw("mlp_only_layers", []) or []
    if step < 1:
        raise hf.error("decoder_sparse_step", step, "it must be at least 1")
    if not set(dense) <= set(range(num_layers)):
        raise hf.error("mlp_only_layers", dense, f"it must list layers below {num_layers}")
    return tuple(num_experts > 0 and (i + 1) % step == 0 and i not in dense for i in range(num_layers))


def _mixture(hf: HfView, *, num_experts: int, top_k: int, mlp_dim: int, shared_dim: int | None) -> dict[str, Any]:
    """The fields of DecoderConfig that describe the experts; `num_experts`, then the config class's defaults."""
    # Of the loss and of outputs that only training looks at.
    hf.ignore("router_aux_loss_coef", "output_router_logits")
    mixture = MixtureConfig(
        num_experts=num_experts,
        top_k=hf.int("num_experts_per_tok", top_k),
        mlp_dim=hf.int("moe_intermediate_size", mlp_dim),
        normalise=hf.bool("norm_topk_prob", False),
        shared_dim=None if shared_dim is None else hf.int("shared_expert_intermediate_size", shared_dim),
    )
    sparse = _sparse(hf, hf.int("num_hidden_layers", _QWEN2.num_hidden_layers), num_experts)
    if any(sparse) and not 1 <= mixture.top_k <= num_experts:
        raise hf.error("num_experts_per_tok", mixture.top_k, f"a token picks from num_experts = {num_experts}")
    return {"mixture": mixture, "sparse": sparse}


def config_qwen2(hf: HfView) -> DecoderConfig:
    """Reads config.json; defaults are transformers' Qwen2MoeConfig."""
    experts = _mixture(hf, num_experts=hf.int("num_experts", 60), top_k=4, mlp_dim=1408, shared_dim=5632)
    return decoder_config(hf, _QWEN2, windows=_windows_qwen2, qkv_bias=hf.bool("qkv_bias", True), **experts)


def config_qwen3(hf: HfView) -> DecoderConfig:
    """Reads config.json; defaults are transformers' Qwen3MoeConfig. Per-head RMSNorm on q and k, no shared expert."""
    # transformers 5 saves it as num_local_experts.
    num_experts = hf.int("num_experts", hf.int("num_local_experts", 128))
    experts = _mixture(hf, num_experts=num_experts, top_k=8, mlp_dim=768, shared_dim=None)
    bias = hf.bool("attention_bias", False)
    return decoder_config(hf, _QWEN3, windows=_windows_qwen3, qkv_bias=bias, out_bias=bias, qk_norm=True, **experts)


def weights(cfg: DecoderConfig) -> RuleTable:
    """Tensor names of Qwen2Moe and Qwen3Moe."""
    table = decoder_weights(cfg)
    if cfg.mixture is None or not any(cfg.sparse):
        return table
    hf, ours = "model.layers.{layer}.mlp.", "layers.{layer}.mlp."
    modules = {
        "gate": "router",
        "shared_expert_gate": "shared_gate",
        **{f"shared_expert.{matrix}_proj": f"shared.{matrix}" for matrix in ("gate", "up", "down")},
    }
    rules = (Rule(f"{ours}{target}.weight", f"{hf}{source}.weight") for source, target in modules.items())
    experts = expert_rules(f"{hf}experts", f"{ours}experts", cfg.mixture.num_experts)
    return dataclasses.replace(table, rules=(*table.rules, *rules, *experts))


def _stackable(cfg: DecoderConfig) -> bool:
    return len(set(cfg.sparse)) <= 1


QWEN2_MOE = Architecture(
    names=("Qwen2MoeForSequenceClassification",),
    summary="Qwen1.5-MoE and Qwen2-MoE: routed experts beside a shared one",
    config=config_qwen2,
    build=DecoderClassifier,
    weights=weights,
    pooling="LAST",
    example="Qwen/Qwen1.5-MoE-A2.7B",
    stackable=_stackable,
)

QWEN3_MOE = dataclasses.replace(
    QWEN2_MOE,
    names=("Qwen3MoeForSequenceClassification",),
    summary="Qwen3-MoE: routed experts",
    config=config_qwen3,
    example="Qwen/Qwen3-30B-A3B",
)

QWEN2_MOE_TOKENS = dataclasses.replace(QWEN2_MOE, names=("Qwen2MoeForTokenClassification",), pooling="ALL")

QWEN3_MOE_TOKENS = dataclasses.replace(QWEN3_MOE, names=("Qwen3MoeForTokenClassification",), pooling="ALL")

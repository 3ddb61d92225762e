"""Gemma3TextForSequenceClassification: Gemma 2 with q/k norms, no soft cap, and a rotation for each kind of layer."""

from typing import Any

from jaxcls.config.hf import HfView
from jaxcls.config.rope import nested_rope_config
from jaxcls.layers.rope import RopeConfig
from jaxcls.models.architecture import Architecture
from jaxcls.models.decoder import DecoderClassifier
from jaxcls.models.decoder_config import DecoderConfig, DecoderDefaults, Windows, periodic_windows
from jaxcls.models.decoder_weights import decoder_weights
from jaxcls.models.gemma2 import gemma2_config

_DEFAULTS = DecoderDefaults(
    vocab_size=262208,
    hidden_size=2304,
    intermediate_size=9216,
    num_hidden_layers=26,
    num_attention_heads=8,
    num_key_value_heads=4,
    head_dim=256,
    hidden_act="gelu_pytorch_tanh",
    max_position_embeddings=131072,
    pad_token_id=0,
)


def _ropes(hf: HfView) -> tuple[RopeConfig, RopeConfig]:
    """Of layers with full attention and of those with a window: `rope_parameters` by kind, or the keys before it.

    `rope_scaling` is for full attention alone.
    """
    parameters = dict(hf.raw("rope_parameters", None) or {})
    full, sliding = (dict(parameters.pop(f"{kind}_attention", None) or {}) for kind in ("full", "sliding"))
    if parameters:
        raise hf.error("rope_parameters", parameters, "expected full_attention and sliding_attention")
    scaling: dict[str, Any] = dict(hf.raw("rope_scaling", None) or {})
    if scaling and "rope_type" not in scaling:
        raise hf.error("rope_scaling", scaling, "it needs a rope_type")
    shared = {
        "head_dim": hf.int("head_dim", 256),
        "max_len": hf.int("max_position_embeddings", _DEFAULTS.max_position_embeddings),
    }
    return (
        nested_rope_config(hf, {**full, **scaling}, theta=hf.float("rope_theta", 1_000_000.0), **shared),
        nested_rope_config(hf, sliding, theta=hf.float("rope_local_base_freq", 10_000.0), **shared),
    )


def _windows(hf: HfView, num_layers: int) -> Windows:
    width = hf.optional_int("sliding_window", 4096)
    if width is not None and hf.bool("use_bidirectional_attention", False):
        width = width // 2 + 1  # to either side
    # Beside `layer_types`, newer files keep the period that these were made with.
    hf.ignore("_sliding_window_pattern")
    return periodic_windows(hf, num_layers, width, period=hf.int("sliding_window_pattern", 6))


def config(hf: HfView) -> DecoderConfig:
    """Reads config.json; defaults are transformers' Gemma3TextConfig."""
    hf.expect("attn_logit_softcapping", None)
    rope, local_rope = _ropes(hf)
    return gemma2_config(
        hf,
        _DEFAULTS,
        windows=_windows,
        rope=rope,
        local_rope=local_rope,
        qk_norm=True,
        bidirectional=hf.bool("use_bidirectional_attention", False),
    )


ARCHITECTURE = Architecture(
    names=("Gemma3TextForSequenceClassification",),
    summary="Gemma 3, the models of text",
    config=config,
    build=DecoderClassifier,
    weights=decoder_weights,
    pooling="LAST",
    example="fine-tunes of google/gemma-3-270m",
)

"""Qwen2ForSequenceClassification and Qwen3ForSequenceClassification."""

import dataclasses

from jaxcls.config.hf import HfView
from jaxcls.models.architecture import Architecture
from jaxcls.models.decoder import DecoderClassifier
from jaxcls.models.decoder_config import DecoderConfig, DecoderDefaults, Windows, decoder_config, typed_windows
from jaxcls.models.decoder_weights import decoder_weights

_DEFAULTS = DecoderDefaults(
    vocab_size=151936,
    hidden_size=4096,
    intermediate_size=22016,
    num_hidden_layers=32,
    num_attention_heads=32,
    num_key_value_heads=32,
    max_position_embeddings=32768,
)


def _windows(hf: HfView, num_layers: int) -> Windows:
    """Sliding windows a layer: `layer_types` if given, else the layers from `max_window_layers` on."""
    enabled = hf.bool("use_sliding_window", False)
    width = hf.optional_int("sliding_window", 4096)
    first = hf.int("max_window_layers", 28)
    layer_types = hf.raw("layer_types", None)
    window = width if enabled else None
    if layer_types is None:
        return tuple(window if layer >= first else None for layer in range(num_layers))
    return typed_windows(hf, layer_types, num_layers, window)


def config_qwen2(hf: HfView) -> DecoderConfig:
    """Reads config.json; defaults are transformers' Qwen2Config. q, k and v have biases, o has none."""
    hf.expect("use_mrope", False)
    return decoder_config(hf, _DEFAULTS, windows=_windows, qkv_bias=True)


def config_qwen3(hf: HfView) -> DecoderConfig:
    """Reads config.json; defaults are transformers' Qwen3Config. Per-head RMSNorm on q and k, explicit head_dim."""
    hf.expect("use_mrope", False)
    bias = hf.bool("attention_bias", False)
    defaults = dataclasses.replace(_DEFAULTS, head_dim=128)
    return decoder_config(hf, defaults, windows=_windows, qkv_bias=bias, out_bias=bias, qk_norm=True)


QWEN2 = Architecture(
    names=("Qwen2ForSequenceClassification",),
    summary="Qwen2 and Qwen2.5; classifiers and rerankers",
    config=config_qwen2,
    build=DecoderClassifier,
    weights=decoder_weights,
    pooling="LAST",
    example="jason9693/Qwen2.5-1.5B-apeach",
)

QWEN2_TOKENS = dataclasses.replace(
    QWEN2,
    names=("Qwen2ForTokenClassification",),
    summary="Qwen2 and Qwen2.5; a label for every token",
    pooling="ALL",
    example="trl-lib/Qwen2-0.5B-Reward-Math-Sheperd",
)

QWEN3 = Architecture(
    names=("Qwen3ForSequenceClassification",),
    summary="Qwen3; reward models and rerankers",
    config=config_qwen3,
    build=DecoderClassifier,
    weights=decoder_weights,
    pooling="LAST",
    example="Skywork/Skywork-Reward-V2-Qwen3-0.6B",
)

QWEN3_TOKENS = dataclasses.replace(
    QWEN3,
    names=("Qwen3ForTokenClassification",),
    summary="Qwen3; a label for every token",
    pooling="ALL",
    example="fine-tunes of Qwen/Qwen3-0.6B",
)

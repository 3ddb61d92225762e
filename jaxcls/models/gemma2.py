"""Gemma2ForSequenceClassification and Gemma2ForTokenClassification: Gemma with soft caps, windows and four norms."""

import dataclasses
from typing import Any

from jaxcls.config.hf import HfView
from jaxcls.models.architecture import Architecture
from jaxcls.models.decoder import DecoderClassifier
from jaxcls.models.decoder_config import DecoderConfig, DecoderDefaults, Windows, decoder_config, periodic_windows
from jaxcls.models.decoder_weights import decoder_weights

_DEFAULTS = DecoderDefaults(
    vocab_size=256000,
    hidden_size=2304,
    intermediate_size=9216,
    num_hidden_layers=26,
    num_attention_heads=8,
    num_key_value_heads=4,
    head_dim=256,
    hidden_act="gelu_pytorch_tanh",
    max_position_embeddings=8192,
    pad_token_id=0,
)


def gemma2_config(hf: HfView, defaults: DecoderDefaults, **flags: Any) -> DecoderConfig:
    """Reads the keys that Gemma 2 and 3 share."""
    # `hidden_activation` is the one that counts; the others are for generation, or written but never read.
    hf.ignore("hidden_act", "final_logit_softcapping", "cache_implementation", "sliding_window_size")
    bias = hf.bool("attention_bias", False)
    return decoder_config(
        hf,
        defaults,
        activation=hf.activation("hidden_activation", defaults.hidden_act),
        qkv_bias=bias,
        out_bias=bias,
        norm_offset=1.0,
        post_norms=True,
        embed_scale=hf.int("hidden_size", defaults.hidden_size) ** 0.5,
        attn_scale=hf.float("query_pre_attn_scalar", 256) ** -0.5,
        **flags,
    )


def _windows(hf: HfView, num_layers: int) -> Windows:
    return periodic_windows(hf, num_layers, hf.optional_int("sliding_window", 4096), period=2)


def config(hf: HfView) -> DecoderConfig:
    """Reads config.json; defaults are transformers' Gemma2Config."""
    # transformers' masks stay causal whatever it says.
    hf.expect("use_bidirectional_attention", False)
    soft_cap = hf.optional_float("attn_logit_softcapping", 50.0)
    return gemma2_config(hf, _DEFAULTS, windows=_windows, soft_cap=soft_cap, plain_attention=soft_cap is None)


ARCHITECTURE = Architecture(
    names=("Gemma2ForSequenceClassification",),
    summary="Gemma 2; reward models and classifiers",
    config=config,
    build=DecoderClassifier,
    weights=decoder_weights,
    pooling="LAST",
    example="Skywork/Skywork-Reward-Gemma-2-27B-v0.2",
)

TOKENS = dataclasses.replace(
    ARCHITECTURE,
    names=("Gemma2ForTokenClassification",),
    summary="Gemma 2; a label for every token",
    pooling="ALL",
    example="fine-tunes of google/gemma-2-2b",
)

"""Gemma for sequences and tokens: Llama with scaled embeddings, norms of 1 + weight and a tanh-GELU gate."""

import dataclasses

from jaxcls.config.hf import HfView
from jaxcls.models.architecture import Architecture
from jaxcls.models.decoder import DecoderClassifier
from jaxcls.models.decoder_config import DecoderConfig, DecoderDefaults, decoder_config
from jaxcls.models.decoder_weights import decoder_weights

_DEFAULTS = DecoderDefaults(
    vocab_size=256000,
    hidden_size=3072,
    intermediate_size=24576,
    num_hidden_layers=28,
    num_attention_heads=16,
    num_key_value_heads=16,
    head_dim=256,
    hidden_act="gelu_pytorch_tanh",
    max_position_embeddings=8192,
    pad_token_id=0,
)


def _activation(hf: HfView) -> str:
    """The first releases said "gelu" and meant the tanh form; later ones say so in `hidden_activation`."""
    named = hf.activation("hidden_act", _DEFAULTS.hidden_act)
    newer = hf.raw("hidden_activation", None)
    if newer not in (None, "gelu", "gelu_pytorch_tanh"):
        raise hf.error("hidden_activation", newer, "Gemma is known with gelu_pytorch_tanh only")
    return "gelu_pytorch_tanh" if named == "gelu" else named


def config(hf: HfView) -> DecoderConfig:
    """Reads config.json; defaults are transformers' GemmaConfig."""
    bias = hf.bool("attention_bias", False)
    return decoder_config(
        hf,
        _DEFAULTS,
        activation=_activation(hf),
        qkv_bias=bias,
        out_bias=bias,
        norm_offset=1.0,
        embed_scale=hf.int("hidden_size", _DEFAULTS.hidden_size) ** 0.5,
        bidirectional=hf.bool("use_bidirectional_attention", False),
    )


ARCHITECTURE = Architecture(
    names=("GemmaForSequenceClassification",),
    summary="Gemma; reward models and classifiers",
    config=config,
    build=DecoderClassifier,
    weights=decoder_weights,
    pooling="LAST",
    example="weqweasdas/RM-Gemma-2B",
)

TOKENS = dataclasses.replace(
    ARCHITECTURE,
    names=("GemmaForTokenClassification",),
    summary="Gemma; a label for every token",
    pooling="ALL",
    example="fine-tunes of google/gemma-2b",
)

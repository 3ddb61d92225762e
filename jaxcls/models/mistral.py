"""MistralForSequenceClassification and MistralForTokenClassification: Llama with one sliding window for all layers."""

import dataclasses
from functools import partial

from jaxcls.config.hf import HfView
from jaxcls.models.architecture import Architecture
from jaxcls.models.decoder import DecoderClassifier
from jaxcls.models.decoder_config import DecoderConfig, DecoderDefaults, decoder_config, every_window
from jaxcls.models.decoder_weights import decoder_weights

_DEFAULTS = DecoderDefaults(
    vocab_size=32000,
    hidden_size=4096,
    intermediate_size=14336,
    num_hidden_layers=32,
    num_attention_heads=32,
    num_key_value_heads=8,
    max_position_embeddings=131072,
)


def config(hf: HfView) -> DecoderConfig:
    """Reads config.json; defaults are transformers' MistralConfig."""
    return decoder_config(hf, _DEFAULTS, windows=partial(every_window, default=4096))


ARCHITECTURE = Architecture(
    names=("MistralForSequenceClassification",),
    summary="Mistral 7B; reward models and classifiers",
    config=config,
    build=DecoderClassifier,
    weights=decoder_weights,
    pooling="LAST",
    example="weqweasdas/RM-Mistral-7B",
)

TOKENS = dataclasses.replace(
    ARCHITECTURE,
    names=("MistralForTokenClassification",),
    summary="Mistral 7B; a label for every token",
    pooling="ALL",
    example="fine-tunes of mistralai/Mistral-7B-v0.3",
)

"""LlamaForSequenceClassification, LlamaForTokenClassification and LlamaBidirectionalForSequenceClassification."""

import dataclasses

from jaxcls.config.hf import HfView
from jaxcls.config.pooler import Pooling
from jaxcls.layers.head import HeadConfig
from jaxcls.models.architecture import Architecture
from jaxcls.models.decoder import DecoderClassifier
from jaxcls.models.decoder_config import DecoderConfig, DecoderDefaults, decoder_config
from jaxcls.models.decoder_weights import decoder_weights

_DEFAULTS = DecoderDefaults(
    vocab_size=32000,
    hidden_size=4096,
    intermediate_size=11008,
    num_hidden_layers=32,
    num_attention_heads=32,
    max_position_embeddings=2048,
)
_POOLING: dict[str, Pooling] = {"avg": "MEAN", "cls": "CLS", "last": "LAST"}


def config(hf: HfView) -> DecoderConfig:
    """Reads config.json; defaults are transformers' LlamaConfig."""
    # A way of slicing the products for tensor parallel training; the result is the same.
    hf.ignore("pretraining_tp")
    bias = hf.bool("attention_bias", False)
    return decoder_config(hf, _DEFAULTS, qkv_bias=bias, out_bias=bias, mlp_bias=hf.bool("mlp_bias", False))


def config_bidirectional(hf: HfView) -> DecoderConfig:
    """Reads config.json: Llama's, how tokens are pooled, and what the author's code divides the logits by.

    That code pools by the attention mask: the last token is scored whatever it is.
    """
    pooling = hf.raw("pooling", None)
    if pooling not in _POOLING:
        raise hf.error("pooling", pooling, f"this architecture needs one of {', '.join(_POOLING)}")
    return dataclasses.replace(
        config(hf),
        bidirectional=not hf.bool("is_causal", False),
        pooling=_POOLING[pooling],
        head=HeadConfig(temperature=hf.float("temperature", 1.0)),
        pad_token_id=None,
    )


def _pooling(cfg: DecoderConfig) -> Pooling:
    return cfg.pooling


ARCHITECTURE = Architecture(
    names=("LlamaForSequenceClassification",),
    summary="Llama 2 and 3; reward models and classifiers",
    config=config,
    build=DecoderClassifier,
    weights=decoder_weights,
    pooling="LAST",
    example="Skywork/Skywork-Reward-V2-Llama-3.2-1B",
)

TOKENS = dataclasses.replace(
    ARCHITECTURE,
    names=("LlamaForTokenClassification",),
    summary="Llama 2 and 3; a label for every token",
    pooling="ALL",
    example="fine-tunes of meta-llama/Llama-3.2-1B",
)

BIDIRECTIONAL = dataclasses.replace(
    ARCHITECTURE,
    names=("LlamaBidirectionalForSequenceClassification",),
    summary="Llama without its causal mask; rerankers",
    config=config_bidirectional,
    pooling=_pooling,
    example="nvidia/llama-nemotron-rerank-1b-v2",
)

"""EuroBERT: Llama's blocks without the causal mask, dense and GELU before the classifier.

The head is applied to the first token ("bos"), to the mean of all ("mean"), or to each, and their logits averaged
("late"). Token classification has no dense layer.
"""

import dataclasses

from jaxcls.config.hf import HfView
from jaxcls.config.pooler import Pooling
from jaxcls.layers.head import LINEAR, HeadConfig
from jaxcls.models.architecture import Architecture
from jaxcls.models.decoder import DecoderClassifier
from jaxcls.models.decoder_config import DecoderConfig, DecoderDefaults, decoder_config
from jaxcls.models.decoder_weights import decoder_weights
from weights.rules import Rule, RuleTable

_DEFAULTS = DecoderDefaults(
    vocab_size=128256,
    hidden_size=768,
    intermediate_size=3072,
    num_hidden_layers=12,
    num_attention_heads=12,
    max_position_embeddings=8192,
    pad_token_id=128001,
    norm_eps=1e-5,
)
_POOLING: dict[str, Pooling] = {"bos": "CLS", "mean": "MEAN", "late": "MEAN_LOGITS"}


def _pooling(hf: HfView) -> Pooling:
    """`classifier_pooling`; the published code called it `clf_pooling`."""
    older = hf.raw("clf_pooling", None)
    named = hf.raw("classifier_pooling", older or "late")
    if named not in _POOLING:
        raise hf.error("classifier_pooling", named, f"known are {', '.join(_POOLING)}")
    if older not in (None, named):
        raise hf.error("clf_pooling", older, f"classifier_pooling says {named!r}; drop one of them")
    return _POOLING[named]


def _config(hf: HfView, head: HeadConfig) -> DecoderConfig:
    # How the products are sliced, names of the tokenizer's tokens, and dropout.
    hf.ignore("pretraining_tp", "bos_token", "eos_token", "mask_token", "pad_token", "hidden_dropout")
    bias = hf.bool("attention_bias", False)
    return decoder_config(
        hf,
        _DEFAULTS,
        qkv_bias=bias,
        out_bias=bias,
        mlp_bias=hf.bool("mlp_bias", False),
        bidirectional=True,
        pooling=_pooling(hf),
        head=head,
    )


def weights(cfg: DecoderConfig) -> RuleTable:
    """Tensor names of EuroBertForSequenceClassification."""
    table = decoder_weights(cfg)
    head = {"head.dense": "dense", "head.score": "classifier"}
    own = (Rule(f"{ours}.{leaf}", f"{theirs}.{leaf}") for ours, theirs in head.items() for leaf in ("weight", "bias"))
    body = (rule for rule in table.rules if not rule.target.startswith("head."))
    return dataclasses.replace(table, rules=(*body, *own))


SEQUENCES = Architecture(
    names=("EuroBertForSequenceClassification",),
    summary="EuroBERT; classifiers",
    config=lambda hf: _config(hf, HeadConfig("gelu")),
    build=DecoderClassifier,
    weights=weights,
    pooling=lambda cfg: cfg.pooling,
    example="EuroBERT/EuroBERT-210m",
)

TOKENS = Architecture(
    names=("EuroBertForTokenClassification",),
    summary="EuroBERT; token classifiers",
    config=lambda hf: _config(hf, LINEAR),
    build=DecoderClassifier,
    weights=weights,
    pooling="ALL",
    example="EuroBERT/EuroBERT-210m",
)

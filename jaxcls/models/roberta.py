"""RoBERTa, XLM-RoBERTa and CamemBERT: <s> -> dense, tanh -> out_proj; or a classifier of every token.

The three are the same network; they differ in tokenizer and size only. XLM-RoBERTa is also published in another layout,
with absolute or rotary positions (flash_xlm_roberta).
"""

import dataclasses

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from jaxcls.config.hf import HfView
from jaxcls.layers.head import DENSE, LINEAR
from jaxcls.models.architecture import Architecture
from jaxcls.models.encoder import EncoderClassifier
from jaxcls.models.encoder_config import EncoderConfig, EncoderDefaults, encoder_config, of_tokens
from jaxcls.models.encoder_weights import encoder_weights
from jaxcls.models.flash_xlm_roberta import flash_weights, is_flash, read_flash_keys, rotary_config
from jaxcls.models.rotary_encoder import RotaryEncoderClassifier
from jaxcls.models.rotary_encoder_config import RotaryEncoderConfig
from weights.rules import RuleTable

Config = EncoderConfig | RotaryEncoderConfig


def config(hf: HfView) -> Config:
    """Reads config.json; defaults are transformers' RobertaConfig, XLMRobertaConfig and CamembertConfig."""
    kind = hf.raw("model_type", None)
    flash = kind == "xlm-roberta" and is_flash(hf)
    if flash and hf.raw("position_embedding_type", "absolute") == "rotary":
        return rotary_config(hf)
    defaults = EncoderDefaults(30522 if kind in ("xlm-roberta", "camembert") else 50265, pad_token_id=1)
    cfg = encoder_config(hf, defaults, head=DENSE, roberta_positions=True)
    if flash:
        read_flash_keys(hf)
    return dataclasses.replace(cfg, flash_layout=flash)


def build(
    cfg: Config, rngs: nnx.Rngs, dtype: DTypeLike = jnp.float32, stacked: bool = False
) -> EncoderClassifier | RotaryEncoderClassifier:
    """The network that the positions ask for."""
    network = RotaryEncoderClassifier if isinstance(cfg, RotaryEncoderConfig) else EncoderClassifier
    return network(cfg, rngs, dtype, stacked)  # pyright: ignore[reportArgumentType]


def weights(cfg: Config) -> RuleTable:
    """Tensor names of RobertaForSequenceClassification and RobertaForTokenClassification."""
    if isinstance(cfg, RotaryEncoderConfig) or cfg.flash_layout:
        return flash_weights(cfg)
    if cfg.head == LINEAR:
        return encoder_weights("roberta", {"classifier": "head.score"})
    return encoder_weights("roberta", {"classifier.dense": "head.dense", "classifier.out_proj": "head.score"})


ARCHITECTURE = Architecture(
    names=(
        "CamembertForSequenceClassification",
        "RobertaForSequenceClassification",
        "XLMRobertaForSequenceClassification",
    ),
    summary="RoBERTa, XLM-RoBERTa and CamemBERT; classifiers and rerankers",
    config=config,
    build=build,
    weights=weights,
    pooling="CLS",
    example="BAAI/bge-reranker-v2-m3",
)

TOKENS = Architecture(
    names=("CamembertForTokenClassification", "RobertaForTokenClassification", "XLMRobertaForTokenClassification"),
    summary="RoBERTa, XLM-RoBERTa and CamemBERT; named entities and other labels of tokens",
    config=of_tokens(config),
    build=build,
    weights=weights,
    pooling="ALL",
    example="Jean-Baptiste/camembert-ner",
)

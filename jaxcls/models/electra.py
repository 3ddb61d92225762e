"""ELECTRA: BERT with narrow embedding tables in the small models; CLS token -> dense, gelu -> out_proj."""

import dataclasses

from jaxcls.config.hf import HfView
from jaxcls.layers.head import LINEAR, HeadConfig
from jaxcls.models.architecture import Architecture
from jaxcls.models.encoder import EncoderClassifier
from jaxcls.models.encoder_config import EncoderConfig, EncoderDefaults, encoder_config, of_tokens
from jaxcls.models.encoder_weights import encoder_weights
from weights.rules import RuleTable

_DEFAULTS = EncoderDefaults(hidden_size=256, num_attention_heads=4, intermediate_size=1024)


def config(hf: HfView) -> EncoderConfig:
    """Reads config.json; defaults are transformers' ElectraConfig."""
    # Of the multiple choice model alone; the classifier has a head of its own.
    hf.ignore("summary_type", "summary_use_proj", "summary_activation", "summary_last_dropout")
    # Size of the generator that the model was trained against.
    hf.ignore("generator_hidden_size", "generator_layers", "generator_size")
    # The head's activation is gelu whatever hidden_act is.
    cfg = encoder_config(hf, _DEFAULTS, head=HeadConfig("gelu"))
    width = hf.int("embedding_size", 128)
    return dataclasses.replace(cfg, table_dim=None if width == cfg.embed_dim else width)


def weights(cfg: EncoderConfig) -> RuleTable:
    """Tensor names of ElectraForSequenceClassification and ElectraForTokenClassification."""
    dense = {"classifier.dense": "head.dense", "classifier.out_proj": "head.score"}
    return encoder_weights(
        "electra",
        {
            "electra.embeddings_project": "embed.project",
            **({"classifier": "head.score"} if cfg.head == LINEAR else dense),
        },
        ignore=("discriminator_predictions.*", "generator_predictions.*", "generator_lm_head.*"),
    )


ARCHITECTURE = Architecture(
    names=("ElectraForSequenceClassification",),
    summary="ELECTRA; classifiers and rerankers",
    config=config,
    build=EncoderClassifier,
    weights=weights,
    pooling="CLS",
    example="cross-encoder/ms-marco-electra-base",
)

TOKENS = Architecture(
    names=("ElectraForTokenClassification",),
    summary="ELECTRA; labels of tokens",
    config=of_tokens(config),
    build=EncoderClassifier,
    weights=weights,
    pooling="ALL",
    example="google/electra-base-discriminator",
)

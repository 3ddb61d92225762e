"""ERNIE: BERT, with an embedding of the task that the text belongs to in later versions."""

import dataclasses

from jaxcls.config.hf import HfView
from jaxcls.layers.head import POOLER
from jaxcls.models.architecture import Architecture
from jaxcls.models.encoder import EncoderClassifier
from jaxcls.models.encoder_config import EncoderConfig, EncoderDefaults, encoder_config, of_tokens
from jaxcls.models.encoder_weights import encoder_weights
from weights.rules import RuleTable

_TASK_TYPES = "ernie.embeddings.task_type_embeddings.weight"


def config(hf: HfView) -> EncoderConfig:
    """Reads config.json; defaults are transformers' ErnieConfig."""
    task_types = hf.int("task_type_vocab_size", 3)
    used = hf.bool("use_task_id", False)
    return dataclasses.replace(
        encoder_config(hf, EncoderDefaults(), head=POOLER), num_task_types=task_types if used else 0
    )


def weights(cfg: EncoderConfig) -> RuleTable:
    """Tensor names of ErnieForSequenceClassification and ErnieForTokenClassification."""
    table = encoder_weights("ernie", {"ernie.pooler.dense": "head.dense", "classifier": "head.score"})
    return dataclasses.replace(
        table,
        # Some files have the table though use_task_id is off, which is what decides.
        ignore=table.ignore if cfg.num_task_types else (*table.ignore, _TASK_TYPES),
        # Before ERNIE had classes of its own, it was saved as a BERT.
        renames=((r"^bert\.", "ernie."), *table.renames),
    )


ARCHITECTURE = Architecture(
    names=("ErnieForSequenceClassification",),
    summary="ERNIE 1 to 3; classifiers and rerankers",
    config=config,
    build=EncoderClassifier,
    weights=weights,
    pooling="CLS",
    example="nghuyong/ernie-3.0-base-zh",
)

TOKENS = Architecture(
    names=("ErnieForTokenClassification",),
    summary="ERNIE 1 to 3; labels of tokens",
    config=of_tokens(config),
    build=EncoderClassifier,
    weights=weights,
    pooling="ALL",
    example="nghuyong/ernie-3.0-base-zh",
)

"""The network of a classifier as that of an embedder: dense layers, or nothing, in the place of its head."""

import dataclasses
from collections.abc import Callable
from typing import Any

from flax import nnx
from jax.typing import DTypeLike

from jaxcls.config.embedder import Embedder
from jaxcls.config.pooler import Pooling
from jaxcls.models.architecture import Architecture
from weights.rules import Rule, RuleTable

_HEAD = "head."


def embedder_of(
    architecture: Architecture, embedder: Embedder, own: Pooling | Callable[[Any], Pooling]
) -> Architecture:
    """The architecture of an embedder.

    The head's tensors, where a checkpoint has them, are left unread: they are another task's. Those of a dense layer
    are called by their folder and their name in its file.

    Args:
        architecture: of the classifiers with the same network.
        embedder: its dense layers, and whether embeddings have length 1.
        own: how the classifiers of texts pool, which is what embedders do where nobody says.
    """

    def build(cfg: Any, rngs: nnx.Rngs, dtype: DTypeLike, stacked: bool) -> Any:
        return architecture.build(dataclasses.replace(cfg, head=embedder.projection), rngs, dtype, stacked)

    def weights(cfg: Any) -> RuleTable:
        table = architecture.weights(cfg)
        heads = [rule for rule in table.rules if rule.target.startswith(_HEAD)]
        return dataclasses.replace(
            table,
            rules=(*(rule for rule in table.rules if rule not in heads), *_dense_rules(embedder)),
            ignore=(*table.ignore, *(source for rule in heads for source in rule.sources)),
        )

    def pooling(cfg: Any) -> Pooling:
        if embedder.late is not None:
            return "ALL"
        pooled = own(cfg) if callable(own) else own
        return "MEAN" if pooled == "MEAN_LOGITS" else pooled

    return dataclasses.replace(
        architecture,
        build=build,
        weights=weights,
        pooling=pooling,
        raw=not embedder.normalize,
        score_token_id=lambda config: None,
        step_tag_id=None,
    )


def _dense_rules(embedder: Embedder) -> list[Rule]:
    return [
        Rule(f"{_HEAD}dense.{i}.{leaf}", f"{folder}/{leaf}" if folder else leaf)
        for i, folder in enumerate(embedder.folders)
        for leaf in ("linear.weight", "linear.bias", "residual.weight")
    ]

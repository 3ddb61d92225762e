"""What the engine needs to know of an architecture, and what every model can do."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, Protocol, runtime_checkable

from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxcls.config.hf import HfView
from jaxcls.layers.head import ClassificationHead
from jaxcls.layers.packed import PackedBatch
from weights.rules import RuleTable

# How the hidden states of a sequence become one: first token, last that is not padding, or mean.
SequencePooling = Literal["CLS", "LAST", "MEAN"]


@runtime_checkable
class ModelConfig(Protocol):
    """The part of a family's config that the engine reads; each family adds its own flags."""

    @property
    def vocab_size(self) -> int: ...
    @property
    def num_layers(self) -> int: ...
    @property
    def num_labels(self) -> int: ...
    @property
    def head_dim(self) -> int: ...
    @property
    def max_len(self) -> int: ...
    @property
    def type_vocab_size(self) -> int: ...
    @property
    def pad_token_id(self) -> int | None: ...
    @property
    def absolute_positions(self) -> bool: ...


@runtime_checkable
class Classifier(Protocol):
    """A model: packed tokens to hidden states, and the head that turns pooled ones into logits."""

    head: ClassificationHead

    def __call__(self, batch: PackedBatch) -> Float[Array, "T D"]: ...


@dataclasses.dataclass(frozen=True)
class Architecture:
    """One entry of the registry.

    Attributes:
        names: Hugging Face architecture names served by this file.
        summary: one line for the support table.
        config: strict reading of config.json into the family's config; every key accounted for.
        build: (config, rngs, dtype, stacked) -> module. Under `nnx.eval_shape` it costs nothing.
        weights: the rules from checkpoint tensors to the module's parameters.
        pooling: the pooling type that the architecture's head was trained with.
        example: a well-known checkpoint.
    """

    names: tuple[str, ...]
    summary: str
    config: Callable[[HfView], Any]
    build: Callable[[Any, nnx.Rngs, DTypeLike, bool], Any]
    weights: Callable[[Any], RuleTable]
    pooling: SequencePooling
    example: str

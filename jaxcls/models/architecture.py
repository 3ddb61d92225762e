"""What the engine needs to know of an architecture, and what every model can do."""

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxcls.config.hf import HfView
from jaxcls.config.pooler import Pooling
from jaxcls.layers.head import Head, HeadConfig, ProjectionConfig
from jaxcls.layers.packed import PackedBatch
from weights.rules import RuleTable


@runtime_checkable
class ModelConfig(Protocol):
    """The part of a family's config that the engine reads; each family adds its own flags."""

    @property
    def vocab_size(self) -> int: ...
    @property
    def embed_dim(self) -> int: ...
    @property
    def num_layers(self) -> int: ...
    @property
    def num_labels(self) -> int: ...
    @property
    def head(self) -> HeadConfig | ProjectionConfig:
        """What scores hidden states; the engine puts a projection there where embeddings are asked for."""
        ...

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
    @property
    def plain_attention(self) -> bool:
        """Whether scores are scaled products of queries and keys, nothing added and nothing capped."""
        ...

    @property
    def kv_heads_per_layer(self) -> int | None:
        """Heads K of keys and values that a token leaves in a layer for later ones, which change nothing about it.

        None if it does: later tokens are seen too, keys depend on the sequence's length, or more is left than they.
        """
        ...


@runtime_checkable
class Classifier(Protocol):
    """A model: packed tokens to hidden states, and the head that turns pooled ones into logits or embeddings."""

    head: Head

    def __call__(self, batch: PackedBatch) -> Float[Array, "rows D"]: ...


@dataclasses.dataclass(frozen=True)
class Architecture:
    """One entry of the registry.

    Attributes:
        names: Hugging Face architecture names served by this file.
        summary: one line for the support table.
        config: strict reading of config.json into the family's config; every key accounted for.
        build: (config, rngs, dtype, stacked) -> module. Under `nnx.eval_shape` it costs nothing.
        weights: the rules from checkpoint tensors to the module's parameters.
        pooling: what the architecture's head was trained to score; a function of the family's config where that says.
        example: a well-known checkpoint.
        raw: whether logits are what users expect where they do not say (reward models).
        score_token_id: by the family's config, the token that ends every text and is scored; None: the text's last.
        step_tag_id: of process reward models, the token that ends a step where the caller names no other.
        stackable: whether all layers have the same parameters, so that they can be stacked; a function of the family's
            config where that says.
        any_length: whether, by the family's config, a user may ask for longer prompts than its max_len.
    """

    names: tuple[str, ...]
    summary: str
    config: Callable[[HfView], Any]
    build: Callable[[Any, nnx.Rngs, DTypeLike, bool], Any]
    weights: Callable[[Any], RuleTable]
    pooling: Pooling | Callable[[Any], Pooling]
    example: str
    raw: bool = False
    score_token_id: Callable[[Any], int | None] = lambda config: None
    step_tag_id: int | None = None
    stackable: bool | Callable[[Any], bool] = True
    any_length: Callable[[Any], bool] = lambda config: False

    @property
    def pooling_name(self) -> str:
        """What is scored, for tables."""
        return "as config.json says" if callable(self.pooling) else self.pooling

    def stacks(self, config: Any) -> bool:
        """Whether the layers of a model can be stacked."""
        return self.stackable(config) if callable(self.stackable) else self.stackable

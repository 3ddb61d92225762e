"""Hidden states -> logits and scores, on device, in float32."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxcls.config.pooler import TOKEN_POOLING, Pooling
from jaxcls.layers.head import Head
from jaxcls.layers.packed import PackedBatch
from jaxcls.pooling.activation import ScoreActivation
from jaxcls.pooling.select import last_token, mean_tokens


class PoolerOutput(NamedTuple):
    """One row per sequence (or per token, pooling type ALL), float32."""

    probs: Float[Array, "rows C"]
    logits: Float[Array, "rows C"]


@dataclasses.dataclass(frozen=True)
class Pooler:
    """Pool, head, (z - mean) / sigma, activation where the request wants it.

    Attributes:
        pooling_type: what is scored: one row a sequence; ALL and STEP: one row a token.
        activation: what turns logits into probs.
        mean: subtracted from the logits.
        sigma: divides the logits.
        pad_token_id: the id that LAST skips at the end, None if the model has none.
    """

    pooling_type: Pooling
    activation: ScoreActivation
    mean: float = 0.0
    sigma: float = 1.0
    pad_token_id: int | None = None

    @property
    def reuses_prefix(self) -> bool:
        """Whether a row needs nothing of the tokens before the scored one but their keys and values."""
        return self.pooling_type == "LAST"

    @property
    def chunkable(self) -> bool:
        """Whether the rows of a sequence can be had from parts of it that are computed one after another."""
        return self.pooling_type in ("LAST", "ALL")

    def scored(self, token_ids: Sequence[int]) -> int | None:
        """The position that LAST picks; None: others do not pick one, or not the last."""
        if self.pooling_type != "LAST":
            return None
        for position in range(len(token_ids) - 1, 0, -1):
            if token_ids[position] != self.pad_token_id:
                return position
        return 0

    def pick(self, batch: PackedBatch) -> PackedBatch:
        """The batch, with the names of the tokens whose hidden states are enough for this pooler.

        Of the others a model computes in its last layer only what those see.
        """
        match self.pooling_type:
            case "CLS":
                return dataclasses.replace(batch, scored=jnp.asarray(batch.starts))
            case "LAST":
                return dataclasses.replace(batch, scored=last_token(batch, self.pad_token_id))
            case _:
                return batch

    def __call__(self, hidden: Float[Array, "some D"], batch: PackedBatch, head: Head) -> PoolerOutput:
        """Scores a packed batch. `logits` are calibrated; `probs` equal them for requests without activation.

        Args:
            hidden: what the model made of the batch, of every token or of those that the batch names.
            batch: the same batch.
            head: the model's.
        """
        of_tokens = self.pooling_type in TOKEN_POOLING
        logits = head(self._pool(hidden, batch), per_token=of_tokens or self.pooling_type == "MEAN_LOGITS")
        if self.pooling_type == "MEAN_LOGITS":
            logits = mean_tokens(logits, batch)
        logits = (logits - self.mean) / self.sigma
        wanted = batch.use_activation
        if of_tokens:
            wanted = wanted[batch.segment_ids]
        return PoolerOutput(jnp.where(wanted[:, None], self.activation(logits), logits), logits)

    def _pool(self, hidden: Float[Array, "some D"], batch: PackedBatch) -> Float[Array, "rows D"]:
        if self.pooling_type == "MEAN":
            return mean_tokens(hidden, batch)
        if batch.scored is not None:
            return hidden
        wanted = self.pick(batch).scored
        return hidden if wanted is None else hidden[wanted]

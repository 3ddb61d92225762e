"""The packed batch: all that one step receives besides the weights."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxcls.layers.attention import Attend
from kernels_pallas.varlen_attention import RowGroup, varlen_attention

if TYPE_CHECKING:
    AnyArray = Array  # what models see
else:
    AnyArray = Array | np.ndarray  # a batch is made on the host


# Neither a sequence nor padding (-1).
_NOBODY = -2


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PackedBatch:
    """Tokens of many sequences in one static shape.

    The T tokens are rows laid end to end (`row_groups`); each sequence lies whole inside one row, so a row may end in
    padding. Unused sequence slots have length 0.
    """

    input_ids: Int[AnyArray, " T"]
    token_type_ids: Int[AnyArray, " T"]
    positions: Int[AnyArray, " T"]  # 0-based, within the token's sequence
    segment_ids: Int[AnyArray, " T"]  # index of the token's sequence; -1 = padding
    starts: Int[AnyArray, " S"]  # where each sequence begins in the stream
    lengths: Int[AnyArray, " S"]  # its number of tokens; 0 = unused slot
    use_activation: Bool[AnyArray, " S"]
    row_groups: tuple[RowGroup, ...] = dataclasses.field(metadata={"static": True})
    attended: Bool[AnyArray, " T"] | None = None  # whether others see the token; None: all are seen

    def shape_key(self) -> tuple[tuple[RowGroup, ...], int, bool]:
        """What batches that share a compiled program have in common."""
        return self.row_groups, len(self.starts), self.attended is None

    def token_lengths(self) -> Int[Array, " T"]:
        """Length of each token's sequence; 0 for padding."""
        return jnp.where(self.segment_ids >= 0, self.lengths[self.segment_ids], 0)

    def num_tokens(self) -> Int[Array, ""]:
        """Where the last sequence ends; every position from there on is padding."""
        return jnp.max(jnp.asarray(self.starts) + self.lengths)

    def attend(self, *, scale: float, causal: bool, soft_cap: float | None = None) -> Attend:
        """The attention op of this batch."""
        op = partial(varlen_attention, row_groups=self.row_groups, scale=scale, causal=causal, soft_cap=soft_cap)
        if self.attended is not None:
            op = partial(op, key_segment_ids=jnp.where(self.attended, self.segment_ids, _NOBODY))
        return PackedAttention(op, self.row_groups, jnp.asarray(self.segment_ids), self.num_tokens())


@dataclasses.dataclass(frozen=True)
class PackedAttention:
    """`varlen_attention` with everything given but what a layer gives."""

    op: Callable[..., Float[Array, "T N H"]]
    row_groups: tuple[RowGroup, ...]
    segment_ids: Int[Array, " T"]
    num_tokens: Int[Array, ""]

    def rows(self, x: Float[Array, "T *dims"]) -> Float[Array, "rows R *dims"]:
        """Tokens by the rows they lie in."""
        ((count, length),) = self.row_groups
        return x.reshape(count, length, *x.shape[1:])

    def __call__(
        self,
        q: Float[Array, "T N H"],
        k: Float[Array, "T K H"],
        v: Float[Array, "T K H"],
        *,
        window: int | Int[Array, ""] | None,
        bias: Float[Array, "rows N R R"] | None = None,
    ) -> Float[Array, "T N H"]:
        """Attends within each sequence."""
        return self.op(q, k, v, self.segment_ids, window=window, bias=bias)

"""The packed batch: all that one step receives besides the weights."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxcls.layers.attention import Attend
from kernels_pallas.ragged_paged_attention import ragged_paged_attention
from kernels_pallas.varlen_attention import RowGroup, varlen_attention
from kernels_pallas.write_pages import write_pages

if TYPE_CHECKING:
    AnyArray = Array  # what models see
else:
    AnyArray = Array | np.ndarray  # a batch is made on the host


# Neither a sequence nor padding (-1).
_NOBODY = -2
# The slot of a token whose keys and values nobody reads.
NOT_WRITTEN = np.iinfo(np.int32).max


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PageTables:
    """Where in the pool the keys and values of a step's sequences lie; the same in every layer."""

    slots: Int[AnyArray, " T"]  # page * B + offset of each token of the step; NOT_WRITTEN: nowhere
    pages: Int[AnyArray, "S M"]  # of each sequence, in order
    kv_lens: Int[AnyArray, " S"]  # tokens of each sequence up to the step's last
    cu_q_lens: Int[AnyArray, " S1"]  # where the step's tokens of each sequence begin, and where the last ones end
    num_seqs: Int[AnyArray, " 1"]


@dataclasses.dataclass(eq=False)
class PagePool:
    """The pages of all layers, while a step is traced: what the model is given, then what it leaves."""

    pages: Float[Array, "LP B twoK H"]  # those of layer l from l * P on
    num_layers: int


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
    tables: PageTables | None = None  # None: all that a token sees is in this batch
    scored: Int[Array, " S"] | None = None  # the token of each sequence whose hidden state is wanted; None: all
    pool: PagePool | None = dataclasses.field(default=None, metadata={"static": True})

    def shape_key(self) -> tuple[tuple[RowGroup, ...], int, bool, int]:
        """What batches that share a compiled program have in common."""
        pages_per_seq = 0 if self.tables is None else self.tables.pages.shape[1]
        return self.row_groups, len(self.starts), self.attended is None, pages_per_seq

    def token_lengths(self) -> Int[Array, " T"]:
        """Length of each token's sequence; 0 for padding."""
        return jnp.where(self.segment_ids >= 0, self.lengths[self.segment_ids], 0)

    def num_tokens(self) -> Int[Array, ""]:
        """Where the last sequence ends; every position from there on is padding."""
        return jnp.max(jnp.asarray(self.starts) + self.lengths)

    def attend(self, *, scale: float, causal: bool, soft_cap: float | None = None) -> Attend:
        """The attention op of this batch."""
        step = self.row_groups, self.num_tokens(), self.scored, jnp.sum(jnp.asarray(self.lengths) > 0)
        if self.tables is not None and self.pool is not None:
            if not causal:
                raise ValueError("pages hold what is before a token: attention with them is causal")
            paged = partial(ragged_paged_attention, scale=scale, soft_cap=soft_cap)
            return PagedAttention(*step, paged, self.tables, self.pool)
        op = partial(varlen_attention, row_groups=self.row_groups, scale=scale, causal=causal, soft_cap=soft_cap)
        if self.attended is not None:
            op = partial(op, key_segment_ids=jnp.where(self.attended, self.segment_ids, _NOBODY))
        return PackedAttention(*step, op, jnp.asarray(self.segment_ids))


@dataclasses.dataclass
class _StepAttention:
    """What the attention ops of a step have in common; the methods are those of `Attend`."""

    row_groups: tuple[RowGroup, ...]
    num_tokens: Int[Array, ""]
    scored: Int[Array, " S"] | None
    num_seqs: Int[Array, ""]

    def rows(self, x: Float[Array, "T *dims"]) -> Float[Array, "rows R *dims"]:
        """See `Attend`."""
        ((count, length),) = self.row_groups
        return x.reshape(count, length, *x.shape[1:])

    def pick(self, x: Float[Array, "T *dims"]) -> Float[Array, "rows *dims"]:
        """See `Attend`."""
        return x if self.scored is None else x[self.scored]

    @property
    def num_picked(self) -> Int[Array, ""]:
        """See `Attend`."""
        return self.num_tokens if self.scored is None else self.num_seqs

    def query_tokens(self) -> Int[Array, " S"] | None:
        """The token of each row that `pick` leaves, -1 for those that do not count; None: all tokens in their order."""
        if self.scored is None:
            return None
        return jnp.where(jnp.arange(len(self.scored)) < self.num_seqs, self.scored, -1)


@dataclasses.dataclass
class PackedAttention(_StepAttention):
    """`varlen_attention` with everything given but what a layer gives."""

    op: Callable[..., Float[Array, "T N H"]]
    segment_ids: Int[Array, " T"]

    @property
    def state(self) -> tuple[()]:
        """See `Attend`; there is none."""
        return ()

    def at(self, state: Any, *, last: bool = False) -> "PackedAttention":
        """See `Attend`."""
        del state
        return dataclasses.replace(self, scored=self.scored if last else None)

    def keep(self, state: Any) -> None:
        """See `Attend`."""

    def __call__(
        self,
        q: Float[Array, "rows N H"],
        k: Float[Array, "T K H"],
        v: Float[Array, "T K H"],
        *,
        window: int | Int[Array, ""] | None,
        bias: Float[Array, "row N R R"] | None = None,
    ) -> Float[Array, "rows N H"]:
        """Attends within each sequence."""
        return self.op(q, k, v, self.segment_ids, window=window, bias=bias, query_tokens=self.query_tokens())


@dataclasses.dataclass
class PagedAttention(_StepAttention):
    """Writes a layer's keys and values to their pages, then attends over the pages.

    Its state, the pages of all layers and the number of the next one, goes from layer to layer.
    """

    op: Callable[..., Float[Array, "T N H"]]
    tables: PageTables
    pool: PagePool
    state: Any = None

    def __post_init__(self) -> None:
        if self.state is None:
            self.state = self.pool.pages, jnp.int32(0)

    def at(self, state: Any, *, last: bool = False) -> "PagedAttention":
        """See `Attend`."""
        return dataclasses.replace(self, state=state, scored=self.scored if last else None)

    def keep(self, state: Any) -> None:
        """See `Attend`."""
        self.pool.pages = state[0]

    def __call__(
        self,
        q: Float[Array, "rows N H"],
        k: Float[Array, "T K H"],
        v: Float[Array, "T K H"],
        *,
        window: int | Int[Array, ""] | None,
        bias: Float[Array, "row N R R"] | None = None,
    ) -> Float[Array, "rows N H"]:
        """Attends over each sequence, whose earlier tokens are in pages already."""
        if bias is not None:
            raise ValueError("attention over pages has no bias")
        pages, layer = self.state
        per_layer = len(pages) // self.pool.num_layers
        tables, first = jax.tree.map(jnp.asarray, self.tables), layer * per_layer
        written = tables.slots < per_layer * pages.shape[1]
        slots = jnp.where(written, tables.slots + first * pages.shape[1], NOT_WRITTEN)
        pages = write_pages(pages, k, v, slots)
        self.state = pages, layer + 1
        kv_lens, ends = tables.kv_lens, tables.cu_q_lens
        wanted = self.query_tokens()
        if wanted is not None:  # a query sees the tokens up to its own, and is the only one of its sequence
            kv_lens = jnp.where(wanted < 0, 0, kv_lens - (ends[1:] - 1 - wanted))
            ends = jnp.minimum(jnp.arange(len(ends)), self.num_seqs)
        return self.op(q, pages, kv_lens, tables.pages + first, ends, tables.num_seqs, window=window)

"""The kernel for Hopper GPUs over keys that lie in pages.

A tile of queries may belong to several sequences, so that tiles are as many as tokens need, whatever the lengths, and
no two write the same rows. The keys of a tile are one stream all the same: the blocks that its first sequence needs,
those of the next, and so on. A query's interval is counted along that stream; only the copies know pages.
"""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from kernels_pallas.mosaic_gpu import flash
from kernels_pallas.mosaic_gpu.keys import Deliver, Refs
from kernels_pallas.mosaic_gpu.tiles import Limits, make_tiles

# Rows of shared memory that are swizzled together: a page is a whole number of them.
_SWIZZLED_ROWS = 8
# Further than any key; half of the largest number, so that differences are numbers too.
_FAR = jnp.iinfo(jnp.int32).max // 2
# Columns of `PagedKeys.pieces`.
_SEQUENCE, _SHIFT, _START, _STOP, _END = range(5)


@dataclasses.dataclass(frozen=True)
class PagedKeys:
    """Keys and values by the pages of the sequences that a tile has tokens of.

    Attributes:
        kv_pages: pages of B tokens; on the third axis each head's key is followed by its value.
        pages: the pages of each sequence, whole blocks of them.
        pieces: runs of tokens of one sequence and one tile: the sequence; what is added to a block's number along the
            tile's stream to have its number in the sequence; the blocks of the stream that are its own, from and up to;
            the key of the stream that the sequence ends before.
        tile_pieces: the first piece of each tile, and that after the last one's last.
        per_block: pages of a block.
    """

    kv_pages: jax.Array
    pages: jax.Array
    pieces: jax.Array
    tile_pieces: jax.Array
    per_block: int
    adds: bool = False
    stale_ends: bool = True

    @property
    def operands(self) -> tuple[jax.Array, ...]:
        """See `Keys`."""
        return self.kv_pages, self.pages, self.pieces, self.tile_pieces

    @property
    def key_copies(self) -> int:
        """See `Keys`."""
        return self.per_block

    @property
    def value_copies(self) -> int:
        """See `Keys`."""
        return self.per_block

    def deliver_all(self, refs: Refs, tile: Any, kv_head: Any, first: Any, stop: Any, deliver: Deliver) -> None:
        """See `Keys`."""
        del first, stop
        kv_ref, pages_ref, pieces_ref, tile_pieces_ref = refs
        size = self.kv_pages.shape[1]

        @pl.loop(tile_pieces_ref[tile], tile_pieces_ref[tile + 1])
        def _(piece: Any) -> None:
            sequence, shift, end = (pieces_ref[piece, column] for column in (_SEQUENCE, _SHIFT, _END))

            @pl.loop(pieces_ref[piece, _START], pieces_ref[piece, _STOP])
            def _(number: Any) -> None:
                first_page = (number + shift) * self.per_block
                ids = [pages_ref[sequence, first_page + page] for page in range(self.per_block)]

                def copy(part: int, into: Any, barrier: Any, _: Any = None) -> None:
                    for page, page_id in enumerate(ids):
                        rows = into.at[pl.ds(page * size, size)]
                        plgpu.copy_gmem_to_smem(kv_ref.at[page_id, :, 2 * kv_head + part], rows, barrier)

                deliver(number, partial(copy, 0), partial(copy, 1), end)


def unsupported(head_dim: int, page_size: int, dtype: DTypeLike, pages_dtype: DTypeLike, scale: float) -> str | None:
    """Why the kernel cannot compute this attention on any GPU; None if it can."""
    if jnp.dtype(dtype) != jnp.dtype(pages_dtype):
        return f"queries are {jnp.dtype(dtype).name}, pages {jnp.dtype(pages_dtype).name}"
    if flash.head_padding(head_dim):
        return f"the head dimension, {head_dim}, is not a multiple of {flash.HEAD_STEP}, and pages are not copied"
    if page_size % _SWIZZLED_ROWS or (page_size & (page_size - 1)):
        return f"the page size, {page_size}, is not a power of two of at least {_SWIZZLED_ROWS}"
    return flash.unsupported(head_dim, dtype, scale)


# jit: traced once for all layers of a model.
@partial(jax.jit, static_argnames=("scale", "soft_cap", "limits"))
def ragged_paged_attention(
    q: Float[Array, "T N H"],
    kv_pages: Float[Array, "P B twoK H"],
    kv_lens: Int[Array, " S"],
    pages: Int[Array, "S M"],
    cu_q_lens: Int[Array, " S1"],
    num_seqs: Int[Array, " 1"],
    *,
    scale: float,
    window: int | Int[Array, ""] | None,
    soft_cap: float | None,
    limits: Limits,
) -> Float[Array, "T N H"]:
    """See `kernels_pallas.ragged_paged_attention.api.ragged_paged_attention`.

    `limits` are the device's.
    """
    num_tokens, num_heads, head_dim = q.shape
    page_size = kv_pages.shape[1]
    group = num_heads // (kv_pages.shape[2] // 2)
    tiling = flash.choose_tiling(group, head_dim, q.dtype, limits)
    # A larger page is cut: blocks are what is multiplied at once.
    parts = max(page_size // tiling.keys, 1)
    if parts > 1:
        kv_pages = kv_pages.reshape(-1, tiling.keys, *kv_pages.shape[2:])
        pages = (pages[:, :, None] * parts + jnp.arange(parts, dtype=pages.dtype)).reshape(len(pages), -1)
    per_block = tiling.keys // kv_pages.shape[1]
    pages = jnp.pad(pages, ((0, 0), (0, -pages.shape[1] % per_block)))
    q = jnp.pad(q, ((0, -num_tokens % tiling.tokens), (0, 0), (0, 0)))
    stream = _stream(len(q), kv_lens, cu_q_lens, num_seqs, window, tiling.tokens, tiling.keys)
    keys = PagedKeys(kv_pages, pages, stream.pieces, stream.tile_pieces, per_block)
    tiles = make_tiles(stream.first, stream.end, tiling)
    # As if every token saw half of the longest sequence: which there are is known only when a step runs.
    longest = pages.shape[1] * kv_pages.shape[1]
    out = flash.attend(
        q,
        tiles,
        keys,
        tiling,
        group=group,
        scale=scale,
        soft_cap=soft_cap,
        pairs=num_tokens * longest // 2,
        read=len(kv_lens) * longest,
        name="ragged_paged_attention",
    )
    return out[:num_tokens]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Stream:
    """The keys of each tile, in the order in which it reads them; see `PagedKeys`.

    Attributes:
        first: the first key along its tile's stream that each token sees.
        end: that after its last.
    """

    pieces: Int[Array, "pieces 5"]
    tile_pieces: Int[Array, " tiles1"]
    first: Int[Array, " T"]
    end: Int[Array, " T"]


def _stream(
    num_tokens: int,
    kv_lens: Int[Array, " S"],
    cu_q_lens: Int[Array, " S1"],
    num_seqs: Int[Array, " 1"],
    window: int | Int[Array, ""] | None,
    tile: int,
    block: int,
) -> _Stream:
    """What the tiles of `tile` tokens read, in blocks of `block` keys."""
    used = cu_q_lens[num_seqs[0]]
    cuts = jnp.where(jnp.arange(len(cu_q_lens)) <= num_seqs[0], cu_q_lens, used)
    tile_starts = jnp.arange(0, num_tokens, tile)
    # Where a tile or a sequence begins, a piece does. Two that begin together leave the first one empty.
    starts = jnp.sort(jnp.concatenate([tile_starts, cuts]))
    stops = jnp.append(starts[1:], num_tokens)
    sequence = jnp.minimum(_count(cuts[1:] <= starts[:, None]), len(kv_lens) - 1)
    # The position of a token is its place in the stream of queries and this.
    offset = kv_lens[sequence] - cuts[sequence + 1]
    there = (stops > starts) & (starts < used)
    reach = jnp.int32(_FAR) if window is None else jnp.minimum(window, _FAR)
    first_block = jnp.maximum(starts + offset - reach + 1, 0) // block
    blocks = jnp.where(there, -(-(stops + offset) // block) - first_block, 0)
    tile_pieces = _count(starts < jnp.append(tile_starts, num_tokens)[:, None])
    before = jnp.cumsum(blocks) - blocks
    start = before - before[tile_pieces[starts // tile]]
    end_key = kv_lens[sequence] + (start - first_block) * block
    pieces = jnp.stack([sequence, first_block - start, start, start + blocks, end_key], axis=1).astype(jnp.int32)

    token = jnp.arange(num_tokens)
    piece = _count(starts <= token[:, None]) - 1
    along = (start - first_block)[piece] * block
    position = token + offset[piece]
    first = jnp.maximum(position - reach + 1, 0)
    end = jnp.where(there[piece], position + 1, first)
    return _Stream(pieces, tile_pieces.astype(jnp.int32), first + along, end + along)


def _count(below: Bool[Array, "n m"]) -> Int[Array, " n"]:
    """Where each number belongs among ascending ones: one operation for a GPU, where a binary search is many."""
    return below.sum(axis=1, dtype=jnp.int32)

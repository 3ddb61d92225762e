"""A Pallas kernel for TPUs: blocks of the packed queries against chunks of pages, only those that are seen.

XLA lists (block of queries, sequence in it, chunk of that sequence's pages), and the grid is as long as that list. The
pages of a chunk are inputs of their own, so that the pipeline gathers the next chunk's while this one is multiplied.
"""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from kernels_pallas import online_softmax
from kernels_pallas.blocks import attention_bytes, block_sizes, largest_power_of_two
from kernels_pallas.platform import device_kind

# Rows of a register tile in bfloat16: the fewest queries.
_SUBLANES = 16
_MIB = 2**20
# What the compiler may use, above what block sizes are chosen by; the smallest generation has 64 MiB.
_VMEM_LIMIT = 32 * _MIB
# Scalar memory for the list and the page tables; every generation has 1 MiB.
_SCALAR_BYTES = 3 * 2**18
MAX_HEAD_DIM = 512


@dataclasses.dataclass(frozen=True)
class Blocks:
    """What one step of the grid does: so many queries, of all heads, against so many pages."""

    queries: int
    pages: int


def unsupported(
    q_shape: tuple[int, ...],
    kv_shape: tuple[int, ...],
    dtype: DTypeLike,
    kv_dtype: DTypeLike,
    pages_shape: tuple[int, ...],
) -> str | None:
    """Why the kernel cannot compute this attention; None if it can."""
    num_tokens, _, head_dim = q_shape
    if jnp.dtype(dtype).name not in ("bfloat16", "float32"):
        return f"there is no kernel for {jnp.dtype(dtype).name}"
    if dtype != kv_dtype:
        return f"queries are {jnp.dtype(dtype).name}, pages {jnp.dtype(kv_dtype).name}"
    if head_dim > MAX_HEAD_DIM:
        return f"the head dimension, {head_dim}, is above {MAX_HEAD_DIM}"
    seqs, per_seq = pages_shape
    blocks = choose_blocks(q_shape, kv_shape, dtype, per_seq)
    if _vmem_bytes(blocks, q_shape, kv_shape, dtype) > _VMEM_LIMIT:
        return f"{q_shape[1]} heads of {head_dim} and pages of shape {kv_shape[1:]} leave no room for blocks"
    size = 4 * (3 * _max_steps(num_tokens, seqs, per_seq, blocks) + seqs * (per_seq + 3))
    if size > _SCALAR_BYTES:
        return (
            f"{seqs} sequences of up to {per_seq} pages and {num_tokens} tokens need {size} bytes of scalar memory, "
            f"above {_SCALAR_BYTES}: take larger pages, or fewer sequences"
        )
    return None


def choose_blocks(q_shape: tuple[int, ...], kv_shape: tuple[int, ...], dtype: DTypeLike, per_seq: int) -> Blocks:
    """The device's sizes; fewer queries, then fewer pages, if they do not fit."""
    sizes = block_sizes("ragged_paged_attention", "tpu", device_kind())
    pages = max(1, min(sizes["keys"] // kv_shape[1], sizes["pages"], per_seq))
    queries = largest_power_of_two(_padded(q_shape[0]), sizes["queries"])

    def fits(blocks: Blocks) -> bool:
        return _vmem_bytes(blocks, q_shape, kv_shape, dtype) <= sizes["vmem_mib"] * _MIB

    while queries > _SUBLANES and not fits(Blocks(queries, pages)):
        queries //= 2
    while pages > 1 and not fits(Blocks(queries, pages)):
        pages //= 2
    return Blocks(queries, pages)


def _vmem_bytes(blocks: Blocks, q_shape: tuple[int, ...], kv_shape: tuple[int, ...], dtype: DTypeLike) -> int:
    kv_heads, keys = kv_shape[2] // 2, blocks.pages * kv_shape[1]
    rows = q_shape[1] // kv_heads * blocks.queries
    # Pages also lie there once more, a head's keys and values apart from another's.
    apart = keys * kv_shape[2] * -(-kv_shape[3] // 128) * 128 * jnp.dtype(dtype).itemsize
    return apart + attention_bytes(rows, keys, kv_heads, blocks.queries, kv_shape[3], dtype)


def _padded(num_tokens: int) -> int:
    return -(-num_tokens // _SUBLANES) * _SUBLANES


def _max_steps(num_tokens: int, seqs: int, per_seq: int, blocks: Blocks) -> int:
    """A sequence more than there are begins in a block, and each may see all its chunks."""
    return (_padded(num_tokens) // blocks.queries + seqs + 1) * -(-per_seq // blocks.pages)


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
    interpret: bool = False,
) -> Float[Array, "T N H"]:
    """See `kernels_pallas.ragged_paged_attention.api.ragged_paged_attention`.

    `interpret` runs the kernel's operations one by one, on any machine.
    """
    # An operand, whatever it is: one program for all windows.
    window = jnp.asarray(jnp.iinfo(jnp.int32).max if window is None else window, jnp.int32)
    options = {"scale": scale, "soft_cap": soft_cap, "interpret": interpret}
    return _attend(q, kv_pages, kv_lens, pages, cu_q_lens, num_seqs, window, **options)


# jit: traced once for all layers of a model.
@partial(jax.jit, static_argnames=("scale", "soft_cap", "interpret"))
def _attend(
    q: Float[Array, "T N H"],
    kv_pages: Float[Array, "P B twoK H"],
    kv_lens: Int[Array, " S"],
    pages: Int[Array, "S M"],
    cu_q_lens: Int[Array, " S1"],
    num_seqs: Int[Array, " 1"],
    window: Int[Array, ""],
    *,
    scale: float,
    soft_cap: float | None,
    interpret: bool,
) -> Float[Array, "T N H"]:
    num_tokens, num_heads, head_dim = q.shape
    kv_heads, per_seq = kv_pages.shape[2] // 2, pages.shape[1]
    group = num_heads // kv_heads
    blocks = choose_blocks(q.shape, kv_pages.shape, q.dtype, per_seq)
    tokens = _padded(num_tokens)
    sequences = _sequences(kv_lens, cu_q_lens, num_seqs, tokens)
    chunk = blocks.pages * kv_pages.shape[1]
    bound = _max_steps(num_tokens, len(kv_lens), per_seq, blocks)
    steps, num_steps = _steps(sequences, window, blocks.queries, chunk, tokens, bound)
    grouped = jnp.pad(q, ((0, tokens - num_tokens), (0, 0), (0, 0))).reshape(tokens, kv_heads, group, head_dim)
    out = pl.pallas_call(
        partial(_kernel, blocks=blocks, chunk=chunk, scale=scale, soft_cap=soft_cap),
        grid_spec=_grid(num_steps, blocks, kv_pages.shape, group, per_seq),
        out_shape=jax.ShapeDtypeStruct((kv_heads, group, tokens, head_dim), q.dtype),
        compiler_params=pltpu.CompilerParams(dimension_semantics=("arbitrary",), vmem_limit_bytes=_VMEM_LIMIT),
        cost_estimate=_cost(q, per_seq * kv_pages.shape[1], len(kv_lens), kv_heads),
        interpret=interpret,
        name="ragged_paged_attention",
    )(
        *steps,
        *sequences,
        pages.reshape(-1),
        window[None],
        grouped.transpose(1, 2, 0, 3),
        *[kv_pages] * blocks.pages,
    )
    return out.transpose(2, 0, 1, 3).reshape(tokens, num_heads, head_dim)[:num_tokens]


def _sequences(
    kv_lens: Int[Array, " S"], cu_q_lens: Int[Array, " S1"], num_seqs: Int[Array, " 1"], tokens: int
) -> tuple[Int[Array, " S1"], Int[Array, " S1"], Int[Array, " S1"]]:
    """Where each sequence's queries begin and end, and its length; the last one is what remains, without any key."""
    there = jnp.arange(len(kv_lens)) < num_seqs[0]
    end = cu_q_lens[num_seqs[0]]
    starts = jnp.where(there, cu_q_lens[:-1], end)
    ends = jnp.where(there, cu_q_lens[1:], end)
    lens = jnp.where(there, kv_lens, 0)
    return tuple(  # pyright: ignore[reportReturnType]
        jnp.append(x, last).astype(jnp.int32) for x, last in ((starts, end), (ends, tokens), (lens, 0))
    )


def _steps(
    sequences: tuple[Int[Array, " S1"], ...],
    window: Int[Array, ""],
    queries: int,
    chunk: int,
    tokens: int,
    bound: int,
) -> tuple[tuple[Int[Array, " steps"], ...], Int[Array, ""]]:
    """Block of queries (ascending), sequence and chunk of each step, and how many steps there are."""
    starts, ends, lens = sequences
    first_block = starts // queries
    blocks = jnp.where(ends > starts, (ends - 1) // queries - first_block + 1, 0)
    num_pairs = tokens // queries + len(lens)
    seq = jnp.repeat(jnp.arange(len(lens)), blocks, total_repeat_length=num_pairs)
    pair = jnp.arange(num_pairs)
    block = first_block[seq] + pair - (jnp.cumsum(blocks) - blocks)[seq]
    # The positions of the pair's first and last query.
    offset = lens[seq] - ends[seq]
    first = jnp.maximum(block * queries, starts[seq]) + offset
    last = jnp.minimum((block + 1) * queries, ends[seq]) - 1 + offset
    first_chunk = jnp.maximum(first - jnp.minimum(window, first + 1) + 1, 0) // chunk
    # One step at least: a block of queries that see nothing has an output too.
    chunks = jnp.maximum(last // chunk + 1 - first_chunk, 1)
    chunks = jnp.where(pair < blocks.sum(), chunks, 0)
    of = jnp.repeat(pair, chunks, total_repeat_length=bound)
    number = first_chunk[of] + jnp.arange(bound) - (jnp.cumsum(chunks) - chunks)[of]
    return tuple(x.astype(jnp.int32) for x in (block[of], seq[of], number)), chunks.sum(dtype=jnp.int32)


def _grid(num_steps: Any, blocks: Blocks, kv_shape: tuple[int, ...], group: int, per_seq: int) -> Any:
    page_size, two_kv_heads, head_dim = kv_shape[1:]
    kv_heads, rows = two_kv_heads // 2, group * blocks.queries

    def page(index: int) -> Any:
        def of_page(step: Any, block: Any, seq: Any, chunk: Any, starts: Any, ends: Any, lens: Any, pages: Any, _: Any):
            # A page past the sequence's end is masked: its last one, which is there already, does as well.
            last = jnp.maximum(lens[seq[step]] - 1, 0) // page_size
            number = jnp.minimum(chunk[step] * blocks.pages + index, last)
            return pages[jnp.minimum(seq[step], starts.shape[0] - 2) * per_seq + number], 0, 0, 0

        return pl.BlockSpec((1, page_size, two_kv_heads, head_dim), of_page)

    queries = pl.BlockSpec((kv_heads, group, blocks.queries, head_dim), lambda step, block, *_: (0, 0, block[step], 0))
    return pltpu.PrefetchScalarGridSpec(
        num_scalar_prefetch=8,
        grid=(num_steps,),
        in_specs=[queries, *(page(index) for index in range(blocks.pages))],
        out_specs=queries,
        scratch_shapes=online_softmax.scratch(kv_heads, rows, head_dim),
    )


def _kernel(
    block: Any,
    seq: Any,
    chunk_number: Any,
    starts: Any,
    ends: Any,
    lens: Any,
    pages: Any,
    window: Any,
    q: Any,
    *rest: Any,
    blocks: Blocks,
    chunk: int,
    scale: float,
    soft_cap: float | None,
) -> None:
    """One block of queries against one chunk of a sequence; the running softmax is in scratch memory."""
    del pages
    page_refs, (out, maximum, total, weighted) = rest[: blocks.pages], rest[blocks.pages :]
    step = pl.program_id(0)

    @pl.when(online_softmax.is_first(block, step))
    def _() -> None:
        online_softmax.start(maximum, total, weighted)

    start, end, length = (x[seq[step]] for x in (starts, ends, lens))
    first_key = chunk_number[step] * chunk
    shape = (blocks.queries, chunk)
    token = block[step] * blocks.queries + jax.lax.broadcasted_iota(jnp.int32, shape, 0)
    key = first_key + jax.lax.broadcasted_iota(jnp.int32, shape, 1)
    distance = length - end + token - key
    mask = (token >= start) & (token < end) & (distance >= 0) & (distance < window[0])
    # Heads first. What lies past the sequence's end may be NaN, which no weight of zero makes zero.
    kv = jnp.swapaxes(jnp.concatenate([page[0] for page in page_refs]), 0, 1)
    written = first_key + jax.lax.broadcasted_iota(jnp.int32, (chunk, q.shape[3]), 0) < length
    for head in range(q.shape[0]):
        state = maximum.at[head], total.at[head], weighted.at[head]
        values = jnp.where(written, kv[2 * head + 1], 0)
        online_softmax.add_keys(q[head], kv[2 * head], values, mask, *state, scale=scale, soft_cap=soft_cap)

    @pl.when(online_softmax.is_last(block, step, axis=0))
    def _() -> None:
        for head in range(q.shape[0]):
            result = online_softmax.finish(total.at[head], weighted.at[head])
            out[head] = result.reshape(q.shape[1:]).astype(out.dtype)


def _cost(q: Float[Array, "T N H"], longest: int, seqs: int, kv_heads: int) -> pl.CostEstimate:
    """As if every token saw half of the longest sequence: which there are is known only when a step runs."""
    num_tokens, num_heads, head_dim = q.shape
    scores = num_tokens * num_heads * longest // 2
    read = 2 * num_tokens * num_heads * head_dim + seqs * longest * kv_heads * head_dim
    return pl.CostEstimate(flops=4 * scores * head_dim, bytes_accessed=read * q.dtype.itemsize, transcendentals=scores)

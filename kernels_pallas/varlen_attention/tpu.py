"""A Pallas kernel for TPUs: only blocks of keys are visited which some query of the block sees.

XLA lists the visible (block of queries, block of keys) pairs, and the grid is as long as that list. Heads lie first, so
that any head size is a whole minor axis; heads that share a key are rows of one product; a step does several heads.
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
from kernels_pallas.blocks import LANES, attention_bytes, block_sizes, largest_power_of_two
from kernels_pallas.platform import device_kind
from kernels_pallas.varlen_attention.gradient import Options, RowGroups, through_xla

# Rows of a register tile in bfloat16: the fewest queries.
_SUBLANES = 16
# Pairs of blocks whose numbers fit in scalar memory, 1 MiB on every generation.
MAX_PAIRS = 2**15
# Wider heads leave no room for blocks.
MAX_HEAD_DIM = 512
_MIB = 2**20
# What the compiler may use, above what block sizes are chosen by; the smallest generation has 64 MiB.
_VMEM_LIMIT = 32 * _MIB


@dataclasses.dataclass(frozen=True)
class Blocks:
    """What one step of the grid does: so many queries against so many keys, for so many key heads."""

    queries: int
    keys: int
    heads: int


def unsupported(
    q_shape: tuple[int, ...], kv_heads: int, dtype: DTypeLike, row_groups: RowGroups, bias: object
) -> str | None:
    """Why the kernel cannot compute this attention; None if it can."""
    num_tokens, num_heads, head_dim = q_shape
    if jnp.dtype(dtype).name not in ("bfloat16", "float32"):
        return f"there is no kernel for {jnp.dtype(dtype).name}"
    if head_dim > MAX_HEAD_DIM:
        return f"the head dimension, {head_dim}, is above {MAX_HEAD_DIM}"
    if bias is not None:
        # It is as large as all scores together: reading it takes the time, and a kernel would gain nothing over XLA.
        return "scores have a bias"
    blocks = choose_blocks(num_tokens, num_heads // kv_heads, kv_heads, head_dim, dtype, row_groups)
    pairs = _padded(num_tokens) ** 2 // (blocks.queries * blocks.keys)
    return f"{num_tokens} tokens make {pairs} pairs of blocks, above {MAX_PAIRS}" if pairs > MAX_PAIRS else None


def choose_blocks(
    num_tokens: int, group: int, kv_heads: int, head_dim: int, dtype: DTypeLike, row_groups: RowGroups
) -> Blocks:
    """The device's sizes, no longer than a row, fewer queries if they do not fit; as many heads at a time as do."""
    sizes = block_sizes("varlen_attention", "tpu", device_kind())
    tokens = _padded(num_tokens)
    longest = max(LANES, *(length for _, length in row_groups))
    keys = max(largest_power_of_two(tokens, min(sizes["keys"], longest)), LANES)
    queries = max(largest_power_of_two(tokens, min(sizes["queries"], longest)), _SUBLANES)

    def fits(queries: int, heads: int) -> bool:
        return attention_bytes(group * queries, keys, heads, queries, head_dim, dtype) <= sizes["vmem_mib"] * _MIB

    while queries > _SUBLANES and not fits(queries, 1):
        queries //= 2
    heads = max(
        (heads for heads in range(1, kv_heads + 1) if kv_heads % heads == 0 and fits(queries, heads)), default=1
    )
    return Blocks(queries, keys, heads)


def varlen_attention(
    q: Float[Array, "T N H"],
    k: Float[Array, "T K H"],
    v: Float[Array, "T K H"],
    segment_ids: Int[Array, " T"],
    *,
    row_groups: RowGroups,
    scale: float,
    causal: bool,
    window: int | Int[Array, ""] | None,
    soft_cap: float | None = None,
    key_segment_ids: Int[Array, " T"] | None = None,
    interpret: bool = False,
) -> Float[Array, "T N H"]:
    """See `kernels_pallas.varlen_attention.api.varlen_attention`; differentiated through the XLA implementation.

    `interpret` runs the kernel's operations one by one, on any machine.
    """
    of_keys = segment_ids if key_segment_ids is None else key_segment_ids
    # An operand, whatever it is: one program for all windows.
    window = jnp.asarray(jnp.iinfo(jnp.int32).max if window is None else window, jnp.int32)
    options = _Options(row_groups, scale, causal, soft_cap, interpret)
    return _attend(q, k, v, segment_ids, of_keys, window, None, options)


@dataclasses.dataclass(frozen=True)
class _Options(Options):
    interpret: bool


# jit: traced once for all layers of a model.
@through_xla
@partial(jax.jit, static_argnums=7)
def _attend(
    q: Float[Array, "T N H"],
    k: Float[Array, "T K H"],
    v: Float[Array, "T K H"],
    segment_ids: Int[Array, " T"],
    key_segment_ids: Int[Array, " T"],
    window: Int[Array, ""],
    query_tokens: None,
    options: _Options,
) -> Float[Array, "T N H"]:
    del query_tokens
    num_tokens, num_heads, head_dim = q.shape
    kv_heads = k.shape[1]
    group = num_heads // kv_heads
    blocks = choose_blocks(num_tokens, group, kv_heads, head_dim, q.dtype, options.row_groups)
    tokens = _padded(num_tokens)
    missing = [(0, tokens - num_tokens)]
    q, k, v = (jnp.pad(x, [*missing, (0, 0), (0, 0)]) for x in (q, k, v))
    segments, of_keys = (jnp.pad(x, missing, constant_values=-1) for x in (segment_ids, key_segment_ids))
    order = _visible_pairs(segments, of_keys, window, blocks, causal=options.causal)
    out = pl.pallas_call(
        partial(_kernel, blocks=blocks, scale=options.scale, causal=options.causal, soft_cap=options.soft_cap),
        grid_spec=_grid(order, blocks, kv_heads, group, head_dim),
        out_shape=jax.ShapeDtypeStruct((kv_heads, group, tokens, head_dim), q.dtype),
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("parallel", "arbitrary"), vmem_limit_bytes=_VMEM_LIMIT
        ),
        cost_estimate=_cost(num_heads, head_dim, q.dtype, (q.size + k.size + v.size + q.size), options),
        interpret=options.interpret,
        name="varlen_attention",
    )(
        *order[:2],
        window[None],
        segments[:, None],
        of_keys[None],
        q.reshape(tokens, kv_heads, group, head_dim).transpose(1, 2, 0, 3),
        k.transpose(1, 0, 2),
        v.transpose(1, 0, 2),
    )
    return out.transpose(2, 0, 1, 3).reshape(tokens, num_heads, head_dim)[:num_tokens]


def _visible_pairs(
    segments: Int[Array, " T"],
    of_keys: Int[Array, " T"],
    window: Int[Array, ""],
    blocks: Blocks,
    *,
    causal: bool,
) -> tuple[Int[Array, " pairs"], Int[Array, " pairs"], Int[Array, ""]]:
    """Blocks of queries, ascending, the block of keys each is to see, and how many of these pairs there are.

    By the range of segments in a block: a pair too many costs time where segments do not ascend, never a result. Every
    block of queries is there, because each has an output.
    """
    q_range = _range(segments.reshape(-1, blocks.queries))
    k_range = _range(of_keys.reshape(-1, blocks.keys))
    visible = (q_range[0][:, None] <= k_range[1]) & (k_range[0] <= q_range[1][:, None])
    q_first = jnp.arange(visible.shape[0], dtype=jnp.int32)[:, None] * blocks.queries
    k_first = jnp.arange(visible.shape[1], dtype=jnp.int32) * blocks.keys
    if causal:
        visible &= k_first < q_first + blocks.queries
    visible &= q_first - (k_first + blocks.keys - 1) < window
    visible &= k_first - (q_first + blocks.queries - 1) < window
    visible = visible.at[:, 0].set(visible[:, 0] | ~visible.any(axis=1))
    q_block, k_block = jnp.nonzero(visible, size=visible.size, fill_value=0)
    return q_block.astype(jnp.int32), k_block.astype(jnp.int32), visible.sum(dtype=jnp.int32)


def _range(segments: Int[Array, "blocks size"]) -> tuple[Int[Array, " blocks"], Int[Array, " blocks"]]:
    """The smallest and largest segment of each block; an empty range where there are none."""
    none = jnp.iinfo(jnp.int32).max
    return jnp.where(segments < 0, none, segments).min(axis=1), segments.max(axis=1)


def _grid(order: tuple[Any, Any, Any], blocks: Blocks, kv_heads: int, group: int, head_dim: int) -> Any:
    def of_queries(head: Any, step: Any, q_block: Any, k_block: Any, window: Any) -> tuple[Any, ...]:
        return head, 0, q_block[step], 0

    def of_keys(head: Any, step: Any, q_block: Any, k_block: Any, window: Any) -> tuple[Any, ...]:
        return head, k_block[step], 0

    heads, rows = blocks.heads, group * blocks.queries
    queries = pl.BlockSpec((heads, group, blocks.queries, head_dim), of_queries)
    keys = pl.BlockSpec((heads, blocks.keys, head_dim), of_keys)
    return pltpu.PrefetchScalarGridSpec(
        num_scalar_prefetch=3,
        grid=(kv_heads // heads, order[2]),
        in_specs=[
            pl.BlockSpec((blocks.queries, 1), lambda head, step, q_block, *_: (q_block[step], 0)),
            pl.BlockSpec((1, blocks.keys), lambda head, step, q_block, k_block, _: (0, k_block[step])),
            queries,
            keys,
            keys,
        ],
        out_specs=queries,
        scratch_shapes=online_softmax.scratch(heads, rows, head_dim),
    )


def _kernel(
    q_block: Any,
    k_block: Any,
    window: Any,
    segments: Any,
    of_keys: Any,
    q: Any,
    k: Any,
    v: Any,
    out: Any,
    maximum: Any,
    total: Any,
    weighted: Any,
    *,
    blocks: Blocks,
    scale: float,
    causal: bool,
    soft_cap: float | None,
) -> None:
    """One block of queries against one of keys; the running softmax is in scratch memory from the first to the last."""
    step = pl.program_id(1)

    @pl.when(online_softmax.is_first(q_block, step))
    def _() -> None:
        online_softmax.start(maximum, total, weighted)

    shape = (blocks.queries, blocks.keys)
    distance = q_block[step] * blocks.queries - k_block[step] * blocks.keys
    distance += jax.lax.broadcasted_iota(jnp.int32, shape, 0) - jax.lax.broadcasted_iota(jnp.int32, shape, 1)
    mask = (segments[...] == of_keys[...]) & (jnp.abs(distance) < window[0])
    if causal:
        mask &= distance >= 0
    for head in range(blocks.heads):
        state = maximum.at[head], total.at[head], weighted.at[head]
        online_softmax.add_keys(q[head], k[head], v[head], mask, *state, scale=scale, soft_cap=soft_cap)

    @pl.when(online_softmax.is_last(q_block, step, axis=1))
    def _() -> None:
        for head in range(blocks.heads):
            result = online_softmax.finish(total.at[head], weighted.at[head])
            out[head] = result.reshape(q.shape[1:]).astype(out.dtype)


def _cost(num_heads: int, head_dim: int, dtype: DTypeLike, values: int, options: _Options) -> pl.CostEstimate:
    """As if every row were one sequence: how a step's rows divide is known only when it runs."""
    pairs = num_heads * sum(count * length**2 for count, length in options.row_groups)
    pairs = pairs // 2 if options.causal else pairs
    return pl.CostEstimate(
        flops=4 * pairs * head_dim, bytes_accessed=values * jnp.dtype(dtype).itemsize, transcendentals=pairs
    )


def _padded(num_tokens: int) -> int:
    """Blocks of keys, and so the tokens, are a multiple of the lanes."""
    return -(-num_tokens // LANES) * LANES

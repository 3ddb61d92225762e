"""Row-bounded attention in plain XLA ops, for every backend.

Heads that share a key are merged into the query axis, so each (row, kv head) is one matrix product; the softmax is
normalised after the value product, which touches H columns instead of R. Rows whose scores are few are computed
together; otherwise one block of queries at a time, against the keys that some query of the block can see.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

# Most float32 scores computed at once. On a CPU they stay in the L2/L3 cache (4 MiB); elsewhere memory is the limit.
CPU_SCORES = 2**20
MAX_SCORES = 2**24
SMALLEST_BLOCK = 32
# Key ranges that a block may be given, in parts of a row: each is one more program.
KEY_RANGES = 4
# Finite, so that a fully masked row (padding) gives a mean instead of NaN; far below any real score.
MASKED = -1e30


def varlen_attention(
    q: Float[Array, "Q N H"],
    k: Float[Array, "T K H"],
    v: Float[Array, "T K H"],
    segment_ids: Int[Array, " T"],
    *,
    row_groups: tuple[tuple[int, int], ...],
    scale: float,
    causal: bool,
    window: int | Int[Array, ""] | None,
    soft_cap: float | None = None,
    bias: Float[Array, "some N R R"] | None = None,
    key_segment_ids: Int[Array, " T"] | None = None,
    query_tokens: Int[Array, " Q"] | None = None,
) -> Float[Array, "Q N H"]:
    """See `kernels_pallas.varlen_attention.api.varlen_attention`."""
    if query_tokens is not None:
        options = {"row_groups": row_groups, "scale": scale, "causal": causal, "window": window, "soft_cap": soft_cap}
        run = partial(varlen_attention, **options, bias=bias, key_segment_ids=key_segment_ids)
        return of_all(run, query_tokens)(q, k, v, segment_ids)
    outputs, start = [], 0
    of_keys = segment_ids if key_segment_ids is None else key_segment_ids
    for count, length in row_groups:
        part = slice(start, start + count * length)
        rows = [x[part].reshape(count, length, *x.shape[1:]) for x in (q, k, v, segment_ids, of_keys)]
        out = _attend_rows(*rows, window, bias, scale=scale, causal=causal, soft_cap=soft_cap)
        outputs.append(out.reshape(count * length, *q.shape[1:]))
        start = part.stop
    return outputs[0] if len(outputs) == 1 else jnp.concatenate(outputs)


def of_all(
    run: Callable[..., Float[Array, "T N H"]], query_tokens: Int[Array, " Q"]
) -> Callable[..., Float[Array, "Q N H"]]:
    """Attention of some tokens by a function that knows only that of all."""

    def some(
        q: Float[Array, "Q N H"], k: Float[Array, "T K H"], v: Float[Array, "T K H"], segment_ids: Int[Array, " T"]
    ) -> Float[Array, "Q N H"]:
        # To jax a negative index is one from the end.
        to = jnp.where(query_tokens < 0, len(k), query_tokens)
        everywhere = jnp.zeros((len(k), *q.shape[1:]), q.dtype).at[to].set(q, mode="drop")
        return run(everywhere, k, v, segment_ids)[query_tokens]

    return some


# jit: traced once for all layers of a model.
@partial(jax.jit, static_argnames=("scale", "causal", "soft_cap"))
def _attend_rows(
    q: Float[Array, "rows R N H"],
    k: Float[Array, "rows R K H"],
    v: Float[Array, "rows R K H"],
    segments: Int[Array, "rows R"],
    key_segments: Int[Array, "rows R"],
    window: int | Int[Array, ""] | None,
    bias: Float[Array, "some N R R"] | None,
    *,
    scale: float,
    causal: bool,
    soft_cap: float | None,
) -> Float[Array, "rows R N H"]:
    rows, length, num_heads, head_dim = q.shape
    # The scale goes into q, which is smaller than the scores.
    queries = (q * jnp.asarray(scale, q.dtype)).reshape(rows, length, k.shape[2], -1, head_dim)
    if bias is not None:
        bias = bias.reshape(len(bias), k.shape[2], -1, length, length)
    heads_first = (queries.transpose(0, 2, 3, 1, 4), k.transpose(0, 2, 3, 1), v.transpose(0, 2, 1, 3))
    operands = (*heads_first, segments, key_segments, window, bias)
    blocks = {limit: _block_size(rows, num_heads, length, limit) for limit in (CPU_SCORES, MAX_SCORES)}
    attend = {limit: partial(_attend, causal=causal, soft_cap=soft_cap, block=block) for limit, block in blocks.items()}
    if blocks[CPU_SCORES] == blocks[MAX_SCORES]:
        out = attend[MAX_SCORES](*operands)
    else:
        out = jax.lax.platform_dependent(*operands, cpu=attend[CPU_SCORES], default=attend[MAX_SCORES])
    return out.transpose(0, 3, 1, 2, 4).reshape(q.shape)


def _block_size(rows: int, num_heads: int, length: int, limit: int) -> int | None:
    """Queries of one row to attend at once; None: all rows together."""
    if rows * num_heads * length * length <= limit:
        return None
    size = length
    while size % 2 == 0 and size > SMALLEST_BLOCK and num_heads * size * length > limit:
        size //= 2
    return size


def _attend(
    q: Float[Array, "rows K G R H"],
    k: Float[Array, "rows K H R"],
    v: Float[Array, "rows K R H"],
    segments: Int[Array, "rows R"],
    key_segments: Int[Array, "rows R"],
    window: int | Int[Array, ""] | None,
    bias: Float[Array, "some K G R R"] | None,
    *,
    causal: bool,
    soft_cap: float | None,
    block: int | None,
) -> Float[Array, "rows K G R H"]:
    rows, length = segments.shape
    index = jnp.arange(length)
    if block is None:
        return _softmax_product(q, k, v, _mask(segments, key_segments, index, index, causal, window), bias, soft_cap)
    blocks = length // block

    def attend_block(number: Int[Array, ""]) -> Float[Array, "1 K G Q H"]:
        row, start = number // blocks, number % blocks * block
        own = jax.lax.dynamic_slice(segments, (row, start), (1, block))
        row_segments = jax.lax.dynamic_slice_in_dim(key_segments, row, 1)
        mask = _mask(own, row_segments, start + jnp.arange(block), index, causal, window)
        queries = jax.lax.dynamic_slice(q, (row, 0, 0, start, 0), (1, *q.shape[1:3], block, q.shape[4]))
        own_bias = None
        if bias is not None:
            at = (row % len(bias), 0, 0, start, 0)
            own_bias = jax.lax.dynamic_slice(bias, at, (1, *bias.shape[1:3], block, length))
        return _visible_keys(queries, k, v, mask, own_bias, row, soft_cap)

    out = jax.lax.map(attend_block, jnp.arange(rows * blocks))
    out = out.reshape(rows, blocks, *q.shape[1:3], block, q.shape[4])
    return jnp.moveaxis(out, 1, 3).reshape(q.shape)


def _visible_keys(
    q: Float[Array, "1 K G Q H"],
    k: Float[Array, "rows K H R"],
    v: Float[Array, "rows K R H"],
    mask: Bool[Array, "1 Q R"],
    bias: Float[Array, "1 K G Q R"] | None,
    row: Int[Array, ""],
    soft_cap: float | None,
) -> Float[Array, "1 K G Q H"]:
    """The softmax product over the shortest range of the row's keys that holds every visible one."""
    length = mask.shape[2]
    parts = KEY_RANGES if length % KEY_RANGES == 0 else 1
    step = length // parts
    seen = mask.reshape(-1, parts, step).any(axis=(0, 2))
    first = jnp.argmax(seen)
    last = parts - 1 - jnp.argmax(seen[::-1])

    def over(size: int) -> Float[Array, "1 K G Q H"]:
        start = first * step
        keys = jax.lax.dynamic_slice(k, (row, 0, 0, start), (1, *k.shape[1:3], size))
        values = jax.lax.dynamic_slice(v, (row, 0, start, 0), (1, v.shape[1], size, v.shape[3]))
        part = None if bias is None else jax.lax.dynamic_slice_in_dim(bias, start, size, axis=4)
        visible = jax.lax.dynamic_slice_in_dim(mask, start, size, axis=2)
        return _softmax_product(q, keys, values, visible, part, soft_cap)

    return jax.lax.switch(last - first, [partial(over, (part + 1) * step) for part in range(parts)])


def _mask(
    q_segments: Int[Array, "rows Q"],
    k_segments: Int[Array, "rows R"],
    q_index: Int[Array, " Q"],
    k_index: Int[Array, " R"],
    causal: bool,
    window: int | Int[Array, ""] | None,
) -> Bool[Array, "rows Q R"]:
    mask = q_segments[:, :, None] == k_segments[:, None, :]
    distance = q_index[:, None] - k_index[None, :]
    if causal:
        mask &= distance >= 0
    if window is not None:
        mask &= jnp.abs(distance) < window
    return mask


def _softmax_product(
    q: Float[Array, "rows K G Q H"],
    k: Float[Array, "rows K H R"],
    v: Float[Array, "rows K R H"],
    mask: Bool[Array, "rows Q R"],
    bias: Float[Array, "some K G Q R"] | None,
    soft_cap: float | None,
) -> Float[Array, "rows K G Q H"]:
    precision = jax.lax.Precision.HIGHEST if q.dtype == jnp.float32 else jax.lax.Precision.DEFAULT
    product = partial(jnp.matmul, precision=precision, preferred_element_type=jnp.float32)
    # Heads that share a key are rows of one product.
    merged = q.reshape(*q.shape[:2], -1, q.shape[4])
    scores = product(merged, k).reshape(*q.shape[:4], -1)
    if soft_cap is not None:
        scores = soft_cap * jnp.tanh(scores / soft_cap)
    if bias is not None:
        scores = scores + bias
    # Added, not selected: XLA on CPU computes a sum with the softmax and the product, a select apart from them.
    scores = scores + jnp.where(mask, 0.0, MASKED)[:, None, None]
    weights = jnp.exp(scores - scores.max(axis=-1, keepdims=True))
    total = weights.sum(axis=-1, keepdims=True)
    out = product(weights.astype(v.dtype).reshape(*merged.shape[:3], -1), v)
    return (out.reshape(q.shape) / total).astype(q.dtype)

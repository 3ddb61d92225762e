"""Row-bounded attention in plain XLA ops, for every backend.

Heads that share a key are merged into the query axis, so each (row, kv head) is one matrix product; the softmax is
normalised after the value product, which touches H columns instead of R.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

# Scores of one query block stay under this many elements (64 MiB in float32).
MAX_BLOCK_SCORES = 2**24
# Finite, so that a fully masked row (padding) gives a mean instead of NaN; far below any real score.
MASKED = -1e30


def varlen_attention(
    q: Float[Array, "T N H"],
    k: Float[Array, "T K H"],
    v: Float[Array, "T K H"],
    segment_ids: Int[Array, " T"],
    *,
    row_groups: tuple[tuple[int, int], ...],
    scale: float,
    causal: bool,
    window: int | Int[Array, ""] | None,
) -> Float[Array, "T N H"]:
    """See `kernels_pallas.varlen_attention.api.varlen_attention`."""
    outputs, start = [], 0
    for count, length in row_groups:
        part = slice(start, start + count * length)
        rows = [x[part].reshape(count, length, *x.shape[1:]) for x in (q, k, v, segment_ids)]
        out = _attend_rows(*rows, scale=scale, causal=causal, window=window)
        outputs.append(out.reshape(count * length, *q.shape[1:]))
        start = part.stop
    return outputs[0] if len(outputs) == 1 else jnp.concatenate(outputs)


def _attend_rows(
    q: Float[Array, "rows R N H"],
    k: Float[Array, "rows R K H"],
    v: Float[Array, "rows R K H"],
    segments: Int[Array, "rows R"],
    *,
    scale: float,
    causal: bool,
    window: int | Int[Array, ""] | None,
) -> Float[Array, "rows R N H"]:
    rows, length, num_heads, head_dim = q.shape
    num_kv_heads = k.shape[2]
    # [rows K G R H]: the scale goes into q, which is smaller than the scores.
    queries = (q * jnp.asarray(scale, q.dtype)).reshape(rows, length, num_kv_heads, -1, head_dim)
    queries = queries.transpose(0, 2, 3, 1, 4)
    keys = k.transpose(0, 2, 3, 1)
    values = v.transpose(0, 2, 1, 3)
    index = jnp.arange(length)

    def attend(
        block: Float[Array, "rows K G Q H"], block_segments: Int[Array, "rows Q"], block_index: Int[Array, " Q"]
    ) -> Float[Array, "rows K G Q H"]:
        mask = _mask(block_segments, segments, block_index, index, causal, window)
        return _softmax_product(block, keys, values, mask)

    block_size = _block_size(rows * num_heads, length)
    if block_size == length:
        out = attend(queries, segments, index)
    else:
        blocks = length // block_size
        split = queries.reshape(*queries.shape[:3], blocks, block_size, head_dim)
        out = jax.lax.map(
            lambda args: attend(*args),
            (
                jnp.moveaxis(split, 3, 0),
                jnp.moveaxis(segments.reshape(rows, blocks, block_size), 1, 0),
                index.reshape(blocks, block_size),
            ),
        )
        out = jnp.moveaxis(out, 0, 3).reshape(queries.shape)
    return out.transpose(0, 3, 1, 2, 4).reshape(q.shape)


def _block_size(num_row_heads: int, length: int) -> int:
    """The largest halving of `length` whose scores fit the limit; `length` itself for ordinary rows."""
    size = length
    while size % 2 == 0 and size > 16 and num_row_heads * size * length > MAX_BLOCK_SCORES:
        size //= 2
    return size


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
    keys: Float[Array, "rows K H R"],
    values: Float[Array, "rows K R H"],
    mask: Bool[Array, "rows Q R"],
) -> Float[Array, "rows K G Q H"]:
    rows, num_kv_heads, group, num_queries, head_dim = q.shape
    precision = jax.lax.Precision.HIGHEST if q.dtype == jnp.float32 else jax.lax.Precision.DEFAULT
    merged = q.reshape(rows, num_kv_heads, group * num_queries, head_dim)
    scores = jnp.matmul(merged, keys, precision=precision, preferred_element_type=jnp.float32)
    scores = scores.reshape(rows, num_kv_heads, group, num_queries, -1)
    scores = jnp.where(mask[:, None, None], scores, MASKED)
    weights = jnp.exp(scores - scores.max(axis=-1, keepdims=True))
    total = weights.sum(axis=-1, keepdims=True)
    merged_weights = weights.astype(values.dtype).reshape(rows, num_kv_heads, group * num_queries, -1)
    out = jnp.matmul(merged_weights, values, precision=precision, preferred_element_type=jnp.float32)
    return (out.reshape(q.shape) / total).astype(q.dtype)

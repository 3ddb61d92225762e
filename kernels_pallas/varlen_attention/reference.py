"""The oracle: one dense masked softmax over the whole stream, float32, matmul precision highest."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


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
    soft_cap: float | None = None,
    bias: Float[Array, "rows N R R"] | None = None,
    key_segment_ids: Int[Array, " T"] | None = None,
) -> Float[Array, "T N H"]:
    """Quadratic in T; `row_groups` only say which tokens a bias is for."""
    group = q.shape[1] // k.shape[1]
    keys = jnp.repeat(k.astype(jnp.float32), group, axis=1)
    values = jnp.repeat(v.astype(jnp.float32), group, axis=1)
    index = jnp.arange(q.shape[0])
    distance = index[:, None] - index[None, :]
    mask = segment_ids[:, None] == (segment_ids if key_segment_ids is None else key_segment_ids)[None, :]
    if causal:
        mask &= distance >= 0
    if window is not None:
        mask &= jnp.abs(distance) < window
    highest = jax.lax.Precision.HIGHEST
    scores = jnp.einsum("qnh,snh->nqs", q.astype(jnp.float32), keys, precision=highest) * scale
    if soft_cap is not None:
        scores = soft_cap * jnp.tanh(scores / soft_cap)
    if bias is not None:
        ((count, length),) = row_groups
        for row in range(count):
            part = slice(row * length, (row + 1) * length)
            scores = scores.at[:, part, part].add(bias[row % bias.shape[0]])
    weights = jax.nn.softmax(jnp.where(mask, scores, -jnp.inf), axis=-1)
    return jnp.einsum("nqs,snh->qnh", weights, values, precision=highest).astype(q.dtype)

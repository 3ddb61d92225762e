"""The oracle: one dense masked softmax over the slots of all pages, float32, matmul precision highest."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


@partial(jax.jit, static_argnames=("scale", "soft_cap"))
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
) -> Float[Array, "T N H"]:
    """See `kernels_pallas.ragged_paged_attention.api.ragged_paged_attention`."""
    num_pages, page_size, two_kv_heads, head_dim = kv_pages.shape
    num_slots, (seqs, per_seq) = num_pages * page_size, pages.shape
    position = jnp.arange(per_seq * page_size)
    slots = (pages[:, :, None] * page_size + jnp.arange(page_size)).reshape(seqs, -1)
    # Of each sequence and slot, the position of the token that lies there; those of nobody lie in the future.
    nobody = jnp.iinfo(jnp.int32).max
    slots = jnp.where(position < kv_lens[:, None], slots, num_slots)
    held = jnp.full((seqs, num_slots), nobody, jnp.int32)
    held = held.at[jnp.arange(seqs)[:, None], slots].set(position, mode="drop")
    token = jnp.arange(len(q))
    seq = jnp.clip(jnp.searchsorted(cu_q_lens, token, side="right") - 1, 0, seqs - 1)
    own = kv_lens[seq] - cu_q_lens[seq + 1] + token
    distance = own[:, None] - held[seq]
    seen = (distance >= 0) & (token < cu_q_lens[num_seqs[0]])[:, None]
    if window is not None:
        seen &= distance < window
    group = q.shape[1] // (two_kv_heads // 2)
    kv = kv_pages.reshape(num_slots, -1, 2, head_dim).astype(jnp.float32)
    kv = jnp.repeat(jnp.where(seen.any(axis=0)[:, None, None, None], kv, 0), group, axis=1)
    highest = jax.lax.Precision.HIGHEST
    scores = jnp.einsum("qnh,snh->nqs", q.astype(jnp.float32), kv[:, :, 0], precision=highest) * scale
    if soft_cap is not None:
        scores = soft_cap * jnp.tanh(scores / soft_cap)
    weights = jax.nn.softmax(jnp.where(seen, scores, -1e30), axis=-1)
    return jnp.einsum("nqs,snh->qnh", weights, kv[:, :, 1], precision=highest).astype(q.dtype)

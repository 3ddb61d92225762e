"""Paged attention in plain XLA ops, for every backend: tiles of one sequence's queries over chunks of its pages.

How many tiles and chunks there are is read from the lengths at run time, so that the cost is that of the tokens there
are, whatever the shapes allow. Not differentiable, as loops of unknown length are not.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

# Queries of one sequence, and tokens of its pages, that are multiplied at once.
TILE = 64
CHUNK = 256
# Finite: a row that has seen nothing yet keeps a finite maximum.
MASKED = -1e30


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
    tokens, head_dim = len(q), q.shape[2]
    tile, kv_heads = min(TILE, tokens), kv_pages.shape[2] // 2
    per_chunk = max(1, min(CHUNK // kv_pages.shape[1], pages.shape[1]))
    chunk = per_chunk * kv_pages.shape[1]
    pages = jnp.pad(pages, ((0, 0), (0, -pages.shape[1] % per_chunk)))
    q_lens = jnp.where(jnp.arange(len(kv_lens)) < num_seqs[0], cu_q_lens[1:] - cu_q_lens[:-1], 0)
    last_tiles = jnp.cumsum(-(-q_lens // tile))
    # A tile may run over the end of its sequence: what it writes there, the next one writes again.
    grouped = jnp.pad(q * jnp.asarray(scale, q.dtype), ((0, tile), (0, 0), (0, 0)))
    grouped = grouped.reshape(tokens + tile, kv_heads, -1, head_dim)

    def attend_tile(index: Int[Array, ""], out: Float[Array, "padded K G H"]) -> Float[Array, "padded K G H"]:
        seq = jnp.searchsorted(last_tiles, index, side="right")
        start = (index - last_tiles[seq] + -(-q_lens[seq] // tile)) * tile
        positions = kv_lens[seq] - q_lens[seq] + start + jnp.arange(tile)
        queries = jax.lax.dynamic_slice_in_dim(grouped, cu_q_lens[seq] + start, tile)
        end = jnp.minimum(kv_lens[seq], positions[-1] + 1)
        first = 0 if window is None else jnp.maximum(positions[0] - window + 1, 0) // chunk

        def attend_chunk(number: Int[Array, ""], carry: _Running) -> _Running:
            ids = jax.lax.dynamic_slice(pages, (seq, number * per_chunk), (1, per_chunk))[0]
            kv = kv_pages[ids].reshape(chunk, kv_heads, 2, head_dim)
            at = number * chunk + jnp.arange(chunk)
            return _accumulate(carry, queries, kv, positions, at, end, window, soft_cap)

        maximum = jnp.full((kv_heads, grouped.shape[2], tile), MASKED, jnp.float32)
        weighted = jnp.zeros((*maximum.shape, head_dim), jnp.float32)
        carry = maximum, jnp.zeros_like(maximum), weighted
        _, total, weighted = jax.lax.fori_loop(first, -(-end // chunk), attend_chunk, carry)
        result = (weighted / jnp.maximum(total, 1e-30)[..., None]).transpose(2, 0, 1, 3).astype(q.dtype)
        return jax.lax.dynamic_update_slice_in_dim(out, result, cu_q_lens[seq] + start, axis=0)

    out = jax.lax.fori_loop(0, last_tiles[-1], attend_tile, jnp.zeros_like(grouped))
    return out[:tokens].reshape(q.shape)


# Of each query and head: the largest score so far, the sum of exponentials, the sum of weighted values.
_Running = tuple[Float[Array, "K G Q"], Float[Array, "K G Q"], Float[Array, "K G Q H"]]


def _accumulate(
    carry: _Running,
    queries: Float[Array, "Q K G H"],
    kv: Float[Array, "C K 2 H"],
    positions: Int[Array, " Q"],
    at: Int[Array, " C"],
    end: Int[Array, ""],
    window: int | Int[Array, ""] | None,
    soft_cap: float | None,
) -> _Running:
    """The softmax over the keys so far, joined with that over one chunk more."""
    maximum, total, weighted = carry
    precision = jax.lax.Precision.HIGHEST if queries.dtype == jnp.float32 else jax.lax.Precision.DEFAULT
    product = partial(jnp.einsum, precision=precision, preferred_element_type=jnp.float32)
    scores = product("qkgh,ckh->kgqc", queries, kv[:, :, 0])
    if soft_cap is not None:
        scores = soft_cap * jnp.tanh(scores / soft_cap)
    distance = positions[:, None] - at[None, :]
    seen = (distance >= 0) & (at < end)[None, :]
    if window is not None:
        seen &= distance < window
    # Selected, not added: a slot that is not the sequence's may hold NaN. Neither may its value be multiplied.
    scores = jnp.where(seen, scores, MASKED)
    values = jnp.where((at < end)[:, None, None], kv[:, :, 1], 0)
    highest = jnp.maximum(maximum, scores.max(axis=-1))
    weights = jnp.where(seen, jnp.exp(scores - highest[..., None]), 0.0)
    kept = jnp.exp(maximum - highest)
    added = product("kgqc,ckh->kgqh", weights.astype(kv.dtype), values)
    return highest, total * kept + weights.sum(axis=-1), weighted * kept[..., None] + added

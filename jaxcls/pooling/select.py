"""Which hidden states of a packed batch are scored."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxcls.layers.packed import PackedBatch


def last_token(batch: PackedBatch, pad_token_id: int | None) -> Int[Array, " S"]:
    """Stream index of each sequence's rightmost token that is not the padding id, else of its first.

    transformers' decoder classifiers look for that token, so a text which itself ends in the padding id (pad = eos,
    appended) is scored before it. Without a padding id it is the last token.
    """
    if pad_token_id is None:
        return batch.starts + jnp.maximum(batch.lengths, 1) - 1
    stream = jnp.arange(batch.input_ids.shape[0])
    candidate = jnp.where(batch.input_ids != pad_token_id, stream, -1)
    num_seqs = batch.starts.shape[0]
    # Padding (-1) goes to a slot of its own, which is dropped.
    segments = jnp.where(batch.segment_ids >= 0, batch.segment_ids, num_seqs)
    rightmost = jax.ops.segment_max(candidate, segments, num_segments=num_seqs + 1)[:num_seqs]
    return jnp.maximum(rightmost, batch.starts)


def mean_tokens(hidden: Float[Array, "T D"], batch: PackedBatch) -> Float[Array, "S D"]:
    """Mean over each sequence's tokens, float32; zeros for unused slots."""
    num_seqs = batch.starts.shape[0]
    segments = jnp.where(batch.segment_ids >= 0, batch.segment_ids, num_seqs)
    total = jax.ops.segment_sum(hidden.astype(jnp.float32), segments, num_segments=num_seqs + 1)[:num_seqs]
    return total / jnp.maximum(batch.lengths, 1).astype(jnp.float32)[:, None]

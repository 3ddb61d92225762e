"""A bias of attention scores that depends on how far apart two tokens are."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from jaxcls.layers.linear import Embedding


def distance_bucket(
    offset: Int[np.ndarray, "*dims"], *, num_buckets: int, max_distance: int
) -> Int[np.ndarray, "*dims"]:
    """T5's buckets of key index - query index (Raffel et al. 2020, section 2.1), for both directions.

    Half of the buckets are for keys behind the query. In each half, the first half holds one distance a bucket, the
    rest grow in proportion to the distance up to `max_distance`; the last holds all that is farther.
    """
    half = num_buckets // 2
    exact = half // 2
    distance = np.abs(offset)
    # float32 like torch: at the edge of a bucket, another rounding is another bucket.
    ratio = np.log(np.maximum(distance, 1).astype(np.float32) / np.float32(exact))
    ratio /= np.float32(math.log(max_distance / exact))
    far = exact + (ratio * np.float32(half - exact)).astype(np.int32)
    return np.where(distance < exact, distance, np.minimum(far, half - 1)) + np.where(offset > 0, half, 0)


class DistanceBias(nnx.Module):
    """One learned value a bucket and head, the same in every row and layer."""

    def __init__(self, num_buckets: int, num_heads: int, *, max_distance: int = 128, rngs: nnx.Rngs):
        self.max_distance = max_distance
        # float32: it is added to float32 scores.
        self.buckets = Embedding(num_buckets, num_heads, dtype=jnp.float32, rngs=rngs)

    def __call__(self, length: int) -> Float[Array, "1 N R R"]:
        """The bias of a row of `length` tokens."""
        buckets = distance_bucket(
            np.arange(1 - length, length), num_buckets=self.buckets.weight.shape[0], max_distance=self.max_distance
        )
        by_offset = self.buckets.weight[...].T[:, buckets]

        def of_query(index: Int[Array, ""]) -> Float[Array, "N R"]:
            return jax.lax.dynamic_slice_in_dim(by_offset, length - 1 - index, length, axis=1)

        # A slice a query: a third of the time of one look-up a pair.
        return jax.vmap(of_query, out_axes=1)(jnp.arange(length))[None]

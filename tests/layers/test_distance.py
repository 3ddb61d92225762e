"""The bias by distance: T5's buckets, and every pair of tokens at its own."""

import numpy as np
import pytest
from flax import nnx

from jaxcls.layers.distance import DistanceBias, distance_bucket

# Where a bucket begins: 8 * 16 ** (i / 8), rounded up.
STARTS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91)


@pytest.mark.parametrize("sign", [-1, 1])
def test_buckets_begin_where_t5_says(sign: int) -> None:
    distances = np.arange(600)
    found = distance_bucket(sign * distances, num_buckets=32, max_distance=128)
    expected = np.searchsorted(STARTS, distances, side="right") - 1
    later = 16 * ((sign * distances) > 0)
    np.testing.assert_array_equal(found, expected + later)


def test_every_pair_has_the_bias_of_its_distance() -> None:
    bias = DistanceBias(8, 3, max_distance=16, rngs=nnx.Rngs(0))
    table = np.asarray(bias.buckets.weight[...])
    found = np.asarray(bias(21))
    assert found.shape == (1, 3, 21, 21)
    for query in range(21):
        for key in range(21):
            bucket = distance_bucket(np.array([key - query]), num_buckets=8, max_distance=16)[0]
            np.testing.assert_array_equal(found[0, :, query, key], table[bucket])

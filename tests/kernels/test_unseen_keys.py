"""Tokens that see their sequence and are seen by none."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels_cpu import library
from kernels_pallas.varlen_attention import varlen_attention


@pytest.mark.parametrize("row_len", [24, 1024])  # whole rows, and blocks of queries
def test_unseen_keys(row_len: int) -> None:
    keys = jax.random.split(jax.random.key(0), 3)
    length = 2 * row_len
    q, k, v = (jax.random.normal(key, (length, 4, 16)) for key in keys)
    segments = np.repeat([0, 1, 2, -1], [row_len // 2, row_len // 2, row_len - 4, 4])
    unseen = np.zeros(length, bool)
    unseen[row_len // 2 - 3 : row_len // 2] = unseen[row_len - 5 : row_len] = True
    given = {"row_groups": ((2, row_len),), "scale": 0.25, "causal": False}
    masked = jnp.asarray(np.where(unseen, -2, segments))
    call = lambda name, mask: varlen_attention(  # noqa: E731
        q, k, v, jnp.asarray(segments), key_segment_ids=mask, implementation=name, **given
    )
    expected = np.asarray(call("reference", masked))
    real = segments >= 0
    np.testing.assert_allclose(np.asarray(call("xla", masked))[real], expected[real], atol=1e-5)
    np.testing.assert_allclose(np.asarray(call(None, masked))[real], expected[real], atol=1e-5)
    # As if they were not there, for all others.
    seen = real & ~unseen
    kept = {**given, "row_groups": ((1, int(seen.sum())),)}
    alone = varlen_attention(*(x[seen] for x in (q, k, v)), jnp.asarray(segments[seen]), implementation="xla", **kept)
    np.testing.assert_allclose(expected[seen], alone, atol=1e-5)
    assert np.abs(expected - np.asarray(call("reference", None)))[seen].max() > 1e-3


def test_the_kernel_says_that_it_cannot() -> None:
    if "float32" not in library().dtypes:
        pytest.skip("no kernel on this machine")
    x = jnp.ones((16, 1, 16))
    ids = jnp.zeros(16, jnp.int32)
    with pytest.raises(ValueError, match="some tokens are seen by none"):
        varlen_attention(
            *(x, x, x, ids), row_groups=((1, 16),), scale=1.0, causal=False, key_segment_ids=ids, implementation="cpu"
        )

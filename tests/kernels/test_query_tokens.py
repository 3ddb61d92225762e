"""Attention from some of the tokens."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels_cpu import library
from kernels_pallas.varlen_attention import varlen_attention

LENGTHS = (1, 40, 17, 70)  # and 8 tokens of padding
SEGMENTS = jnp.asarray(np.repeat([0, 1, 2, 3, -1], [*LENGTHS, 8]), jnp.int32)
ROWS = ((1, 136),)
# The first, one inside, the last of a sequence, two of one, out of order; then a row that is of no token.
ASKED = (0, 1, 20, 57, 127, 60, 40, -1)
KERNEL = pytest.param(
    "cpu", marks=pytest.mark.skipif("float32" not in library().dtypes, reason="no kernel on this machine")
)


def operands(dtype: Any = jnp.float32) -> list[jax.Array]:
    keys = jax.random.split(jax.random.key(0), 3)
    shapes = (4, 2, 2)
    return [jax.random.normal(key, (136, heads, 32)).astype(dtype) for key, heads in zip(keys, shapes, strict=True)]


@pytest.mark.parametrize("implementation", ["xla", "reference", "tpu-interpret", None, KERNEL])
@pytest.mark.parametrize(("causal", "window"), [(False, None), (True, None), (False, 9), (True, 9)])
def test_rows_are_those_of_all_tokens(implementation: Any, causal: bool, window: int | None) -> None:
    q, k, v = operands()
    given: dict[str, Any] = {"row_groups": ROWS, "scale": 0.2, "causal": causal, "window": window}
    everything = varlen_attention(q, k, v, SEGMENTS, implementation="reference", **given)
    asked = jnp.array(ASKED)
    some = varlen_attention(q[asked], k, v, SEGMENTS, query_tokens=asked, implementation=implementation, **given)
    assert some.shape == (len(ASKED), 4, 32)
    assert np.isfinite(some).all()
    np.testing.assert_allclose(some[:-1], everything[asked[:-1]], atol=2e-6)


@pytest.mark.parametrize("implementation", ["xla", KERNEL])
def test_gradient(implementation: Any) -> None:
    q, k, v = operands()
    asked = jnp.array(ASKED[:-1])
    given: dict[str, Any] = {"row_groups": ROWS, "scale": 0.2, "causal": False}

    def some(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        out = varlen_attention(q[asked], k, v, SEGMENTS, query_tokens=asked, implementation=implementation, **given)
        return jnp.sum(jnp.sin(out))

    def picked(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        return jnp.sum(jnp.sin(varlen_attention(q, k, v, SEGMENTS, implementation="reference", **given)[asked]))

    for ours, theirs in zip(jax.grad(some, (0, 1, 2))(q, k, v), jax.grad(picked, (0, 1, 2))(q, k, v), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_rows_without_a_token_are_refused() -> None:
    q, k, v = operands()
    with pytest.raises(ValueError, match="3 queries, but 136 tokens"):
        varlen_attention(q[:3], k, v, SEGMENTS, row_groups=ROWS, scale=1.0, causal=False)

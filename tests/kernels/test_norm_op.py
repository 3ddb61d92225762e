"""The norm op: every implementation against float64 numpy."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels_cpu import library
from kernels_pallas.norm import norm

HAS_KERNEL = "float32" in library().dtypes
every = pytest.mark.parametrize("implementation", ["xla", "cpu"] if HAS_KERNEL else ["xla"])
needs_kernel = pytest.mark.skipif(not HAS_KERNEL, reason="this machine has no compiled kernels")


def draw(*shape: int, seed: int = 0, mean: float = 0.0) -> jax.Array:
    return jnp.asarray(np.random.default_rng((seed, *shape)).normal(mean, 1, shape), jnp.float32)


def exact(x: Any, weight: Any, bias: Any, eps: float, centred: bool) -> np.ndarray:
    x, weight = np.asarray(x, np.float64), np.asarray(weight, np.float64)
    x = x - x.mean(-1, keepdims=True) if centred else x
    y = x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * weight
    return y if bias is None else y + np.asarray(bias, np.float64)


# One value; rows that fill no vector; several pieces of rows, the last one short; heads of tokens.
SHAPES = [(1, 1), (3, 5), (7, 96), (130, 384), (9, 1030), (5, 3, 16)]


@every
@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_rows(implementation: Any, shape: tuple[int, ...], with_bias: bool, centred: bool) -> None:
    x, weight = draw(*shape, mean=2), draw(shape[-1], seed=1)
    bias = draw(shape[-1], seed=2) if with_bias else None
    y = norm(x, weight, bias, eps=1e-5, centred=centred, implementation=implementation)
    assert y.shape == shape
    assert y.dtype == jnp.float32
    np.testing.assert_allclose(y, exact(x, weight, bias, 1e-5, centred), rtol=0, atol=1e-5)


@every
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_stays_in_its_row(implementation: Any, bad: float) -> None:
    x = draw(20, 50).at[7, 3].set(bad)
    y = np.isfinite(np.asarray(norm(x, draw(50), eps=1e-5, centred=True, implementation=implementation)))
    assert not y[7].all()
    assert np.delete(y, 7, axis=0).all()


@pytest.mark.parametrize("centred", [True, False])
def test_gradients_are_those_of_the_formula(centred: bool) -> None:
    x, weight, bias, factor = draw(6, 40), draw(40, seed=1), draw(40, seed=2), draw(6, 40, seed=3)

    def loss(x: jax.Array, weight: jax.Array, bias: jax.Array, **options: Any) -> jax.Array:
        return (norm(x, weight, bias, eps=1e-5, centred=centred, **options) * factor).sum()

    found, expected = (
        jax.grad(loss, argnums=(0, 1, 2))(x, weight, bias, implementation=implementation)
        for implementation in (None, "xla")
    )
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@needs_kernel
def test_a_batch_is_its_elements() -> None:
    x, weight = draw(3, 4, 20), draw(20)
    y = jax.vmap(lambda one: norm(one, weight, eps=1e-5, centred=True, implementation="cpu"))(x)
    np.testing.assert_allclose(y, exact(x, weight, None, 1e-5, True), atol=1e-5)


@needs_kernel
def test_the_kernel_says_what_it_cannot_do() -> None:
    with pytest.raises(ValueError, match=r"there is no kernel for bfloat16; use 'xla'"):
        norm(draw(2, 16).astype(jnp.bfloat16), draw(16), eps=1e-5, centred=True, implementation="cpu")

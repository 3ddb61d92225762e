"""The rotation op: every implementation against float64 numpy."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcls.layers.rope import RopeConfig, cos_sin
from kernels_cpu import library
from kernels_pallas.rotate import rotate

HAS_KERNEL = {"float32", "bfloat16"} <= library().dtypes
every = pytest.mark.parametrize("implementation", ["xla", "cpu"] if HAS_KERNEL else ["xla"])
needs_kernel = pytest.mark.skipif(not HAS_KERNEL, reason="this machine has no compiled kernels")


def draw(tokens: int, heads: int, dim: int, half: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    rng = np.random.default_rng((tokens, heads, dim, half))
    x, angles = rng.normal(size=(tokens, heads, dim)), rng.uniform(-9, 9, (tokens, half))
    return tuple(jnp.asarray(a, jnp.float32) for a in (x, np.cos(angles), np.sin(angles)))  # type: ignore[return-value]


def exact(x: Any, cos: Any, sin: Any) -> np.ndarray:
    half = cos.shape[-1]
    x, turn = np.asarray(x, np.float64), np.asarray(cos, np.float64) + 1j * np.asarray(sin, np.float64)
    pairs = (x[..., :half] + 1j * x[..., half : 2 * half]) * turn[:, None]
    return np.concatenate([pairs.real, pairs.imag, x[..., 2 * half :]], axis=-1)


# Whole heads and parts of them, halves that fill no vector, several pieces of tokens.
SHAPES = [(1, 1, 2, 1), (3, 2, 10, 5), (5, 4, 64, 32), (7, 3, 80, 16), (40, 16, 128, 64), (6, 2, 45, 17)]


@every
@pytest.mark.parametrize("out_dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_heads(implementation: Any, shape: tuple[int, int, int, int], out_dtype: Any) -> None:
    x, cos, sin = draw(*shape)
    y = rotate(x, cos, sin, out_dtype=out_dtype, implementation=implementation)
    assert y.shape == x.shape
    assert y.dtype == out_dtype
    atol = 1e-6 if out_dtype == jnp.float32 else 2e-2
    np.testing.assert_allclose(np.asarray(y, np.float64), exact(x, cos, sin), rtol=0, atol=atol)


@needs_kernel
def test_the_result_is_rounded_once() -> None:
    x, cos, sin = draw(9, 2, 40, 16)
    rounded, whole = (rotate(x, cos, sin, out_dtype=dtype, implementation="cpu") for dtype in ("bfloat16", "float32"))
    np.testing.assert_array_equal(rounded, whole.astype(jnp.bfloat16))


def test_gradients_turn_the_other_way() -> None:
    x, cos, sin = draw(5, 2, 12, 4)
    weights = draw(5, 2, 12, 4)[0][::-1]
    found = jax.grad(lambda x: (rotate(x, cos, sin) * weights).sum())(x)
    np.testing.assert_allclose(found, exact(weights, cos, -sin), atol=1e-6)


@needs_kernel
def test_sines_are_computed_once_for_all_layers_and_heads() -> None:
    def layers(x: jax.Array, positions: jax.Array) -> jax.Array:
        turn = cos_sin(RopeConfig(32, 1e4), positions, positions)
        for _ in range(3):
            x = rotate(jnp.tanh(x), *turn)
        return x

    program = jax.jit(layers).lower(jnp.zeros((8, 4, 32)), jnp.arange(8)).compile().as_text()
    assert program is not None
    assert program.count(" cosine(") == program.count(" sine(") == 1


@needs_kernel
def test_the_kernel_says_what_it_cannot_do() -> None:
    x, cos, sin = draw(2, 1, 8, 4)
    with pytest.raises(ValueError, match=r"there is no kernel for float16; use 'xla'"):
        rotate(x, cos, sin, out_dtype=jnp.float16, implementation="cpu")

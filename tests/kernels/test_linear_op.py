"""The linear op: every implementation against float64 numpy."""

from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf

from kernels_cpu import library
from kernels_pallas.linear import Activation, linear

IMPLEMENTATIONS = ["xla", "cpu"] if {"float32", "bfloat16"} <= library().dtypes else ["xla"]
every = pytest.mark.parametrize("implementation", IMPLEMENTATIONS)

EXACT: dict[str, Any] = {
    "none": lambda y: y,
    "gelu": lambda y: 0.5 * y * (1 + erf(y / np.sqrt(2))),
    "gelu_tanh": lambda y: 0.5 * y * (1 + np.tanh(np.sqrt(2 / np.pi) * (y + 0.044715 * y**3))),
    "silu": lambda y: y / (1 + np.exp(-y)),
    "relu": lambda y: np.maximum(y, 0),
}


def draw(*shape: int, seed: int = 0, dtype: Any = jnp.float32) -> jax.Array:
    return jnp.asarray(np.random.default_rng((seed, *shape)).normal(size=shape), dtype)


def exact(x: Any, weight: Any) -> np.ndarray:
    return np.asarray(x, np.float64) @ np.asarray(weight, np.float64).T


# One token; tokens and outputs that fill no vector; every panel width; rows of W in several blocks.
SHAPES = [
    (1, 32, 1),
    (5, 32, 3),
    (16, 64, 16),
    (17, 64, 50),
    (33, 96, 49),
    (64, 96, 48),
    (100, 1024, 130),
    (130, 32, 97),
]


@every
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_products(implementation: Any, shape: tuple[int, int, int], dtype: Any) -> None:
    tokens, in_dim, out_dim = shape
    x, weight = draw(tokens, in_dim), draw(out_dim, in_dim, dtype=dtype)
    y = linear(x, weight, dtype=dtype, implementation=implementation)
    assert y.dtype == jnp.float32
    np.testing.assert_allclose(y, exact(x.astype(dtype), weight), rtol=0, atol=2e-5 * in_dim**0.5)


@every
@pytest.mark.parametrize("num_tokens", [0, 1, 16, 17, 40, 65, 100, 129, 130])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_padding_changes_no_token(implementation: Any, num_tokens: int, dtype: Any) -> None:
    x, weight = draw(130, 64), draw(50, 64, dtype=dtype)
    count = jnp.int32(num_tokens)
    y = np.asarray(linear(x, weight, num_tokens=count, dtype=dtype, implementation=implementation))
    alone = linear(x[:num_tokens], weight, dtype=dtype, implementation=implementation)
    np.testing.assert_allclose(y[:num_tokens], alone, rtol=0, atol=1e-4)
    assert np.isfinite(y).all()
    if implementation == "cpu":
        np.testing.assert_array_equal(y[num_tokens:], 0)


@every
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.int8])
@pytest.mark.parametrize("in_dim", [64, 1024])
def test_any_number_of_tokens(implementation: Any, dtype: Any, in_dim: int) -> None:
    # 16 tokens are a vector of the kernel's; fewer than that at the end are multiplied in another way.
    quantised = dtype == jnp.int8
    x = draw(50, in_dim, dtype=jnp.float32 if quantised else dtype)
    weight = jnp.round(40 * draw(59, in_dim)).astype(jnp.int8) if quantised else draw(59, in_dim, dtype=dtype)
    options = {"int8_inputs": quantised, "dtype": jnp.bfloat16 if quantised else dtype}
    expected = np.asarray(linear(x, weight, implementation="xla", **options))
    for count in range(len(x) + 1):
        y = linear(x, weight, num_tokens=jnp.int32(count), implementation=implementation, **options)
        np.testing.assert_allclose(y[:count], expected[:count], rtol=1e-5, atol=2e-5 * in_dim**0.5)


@pytest.mark.skipif("cpu" not in IMPLEMENTATIONS, reason="this machine has no compiled kernels")
def test_the_kernel_never_reads_padding() -> None:
    x = draw(130, 64).at[70:].set(jnp.nan)
    y = np.asarray(linear(x, draw(50, 64), num_tokens=jnp.int32(70), dtype=jnp.float32, implementation="cpu"))
    assert np.isfinite(y).all()


@every
@pytest.mark.parametrize("activation", get_args(Activation))
def test_bias_activation_and_residual(implementation: Any, activation: Any) -> None:
    # Up to +-60 or so, where the activations are flat or straight.
    x, weight, bias, residual = 3 * draw(40, 64), draw(70, 64), draw(70), draw(40, 70)
    options = {"activation": activation, "dtype": jnp.float32, "implementation": implementation}
    y = linear(x, weight, None, bias, residual, **options)
    expected = EXACT[activation](exact(x, weight) + np.asarray(bias, np.float64)) + np.asarray(residual, np.float64)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-4)


@every
@pytest.mark.parametrize("activation", get_args(Activation))
def test_activations_are_exact_where_they_bend(implementation: Any, activation: Any) -> None:
    x = jnp.linspace(-12, 12, 32 * 300, dtype=jnp.float32).reshape(300, 32)
    y = linear(x, jnp.eye(32), activation=activation, dtype=jnp.float32, implementation=implementation)
    np.testing.assert_allclose(y, EXACT[activation](np.asarray(x, np.float64)), rtol=0, atol=2e-6)


@every
@pytest.mark.parametrize("activation", get_args(Activation))
def test_nan_is_never_hidden(implementation: Any, activation: Any) -> None:
    x = draw(20, 32).at[7, 3].set(jnp.nan)
    y = linear(x, draw(10, 32), activation=activation, dtype=jnp.float32, implementation=implementation)
    bad = np.isnan(np.asarray(y))
    assert bad[7].all()
    assert not np.delete(bad, 7, axis=0).any()


@every
def test_the_result_is_rounded_once(implementation: Any) -> None:
    x, weight, bias = draw(40, 64), draw(70, 64), draw(70)
    results = [
        linear(x, weight, None, bias, dtype=jnp.float32, out_dtype=out_dtype, implementation=implementation)
        for out_dtype in (jnp.float32, jnp.bfloat16)
    ]
    assert results[1].dtype == jnp.bfloat16
    np.testing.assert_array_equal(results[1], results[0].astype(jnp.bfloat16))


@every
def test_bfloat16_inputs_are_those_that_were_rounded(implementation: Any) -> None:
    x, weight = draw(40, 64), draw(70, 64, dtype=jnp.bfloat16)
    given, rounded = (
        linear(y, weight, dtype=jnp.bfloat16, implementation=implementation) for y in (x, x.astype(jnp.bfloat16))
    )
    np.testing.assert_array_equal(given, rounded)


@pytest.mark.parametrize("implementation", [None, "xla"])
def test_gradients(implementation: Any) -> None:
    operands = (draw(17, 32), draw(10, 32), draw(10), draw(17, 10))

    def value(x: Any, weight: Any, *others: Any, **options: Any) -> Any:
        return (linear(x, weight, None, *others, activation="gelu", dtype=jnp.float32, **options) ** 2).sum()

    def plain(x: Any, weight: Any, bias: Any, residual: Any) -> Any:
        return ((jax.nn.gelu(x @ weight.T + bias, approximate=False) + residual) ** 2).sum()

    every_operand = tuple(range(len(operands)))
    ours = jax.grad(value, argnums=every_operand)(*operands, implementation=implementation)
    for found, expected in zip(ours, jax.grad(plain, argnums=every_operand)(*operands), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@every
def test_vmap(implementation: Any) -> None:
    x, weight = draw(3, 5, 32), draw(10, 32)
    y = jax.vmap(lambda one: linear(one, weight, dtype=jnp.float32, implementation=implementation))(x)
    np.testing.assert_allclose(y, np.stack([exact(one, weight) for one in x]), atol=1e-4)


@pytest.mark.parametrize(
    ("x", "weight", "dtype", "reason"),
    [
        (draw(2, 24), draw(3, 24), jnp.float32, "the inputs, 24, are not a multiple of 16"),
        (draw(2, 2, 32), draw(3, 32), jnp.float32, r"x must be \[tokens, in\]"),
        (draw(2, 32), draw(3, 32), jnp.float16, "there is no kernel for float16"),
        (draw(2, 32), draw(3, 32), jnp.bfloat16, "the weights are float32, not bfloat16"),
    ],
)
def test_what_the_kernel_cannot_do_is_said_and_runs_elsewhere(x: Any, weight: Any, dtype: Any, reason: str) -> None:
    if "cpu" in IMPLEMENTATIONS:
        with pytest.raises(ValueError, match=f"implementation='cpu': {reason}; use 'xla'"):
            linear(x, weight, dtype=dtype, implementation="cpu")
    chosen, xla = (linear(x, weight, dtype=dtype, implementation=name) for name in (None, "xla"))
    np.testing.assert_array_equal(chosen, xla)


def quantised(*shape: int) -> tuple[jax.Array, jax.Array]:
    """An int8 weight and the scales of its rows; one row is zero."""
    weight = np.random.default_rng(shape).normal(size=shape)
    weight[shape[0] // 2] = 0
    scale = np.abs(weight).max(axis=1) / 127
    whole = np.round(weight / np.where(scale > 0, scale, 1)[:, None])
    return jnp.asarray(whole, jnp.int8), jnp.asarray(scale, jnp.float32)


INT8_SHAPES = [(1, 64, 1), (17, 64, 50), (64, 128, 48), (99, 1024, 130)]


@every
@pytest.mark.parametrize("shape", INT8_SHAPES, ids=str)
def test_int8_weights(implementation: Any, shape: tuple[int, int, int]) -> None:
    tokens, in_dim, out_dim = shape
    x, (weight, scale) = draw(tokens, in_dim, dtype=jnp.bfloat16), quantised(out_dim, in_dim)
    y = linear(x, weight, scale, dtype=jnp.bfloat16, implementation=implementation)
    expected = exact(x, np.asarray(weight, np.float64) * np.asarray(scale, np.float64)[:, None])
    np.testing.assert_allclose(y, expected, rtol=0, atol=2e-5 * in_dim**0.5)


@every
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("shape", INT8_SHAPES, ids=str)
def test_int8_products(implementation: Any, shape: tuple[int, int, int], dtype: Any) -> None:
    """Whole numbers are exact: only the rounding of the inputs, half a step each, is left."""
    tokens, in_dim, out_dim = shape
    x, (weight, scale), bias = draw(tokens, in_dim, dtype=dtype), quantised(out_dim, in_dim), draw(out_dim)
    x = x.at[0].set(0)
    y = linear(x, weight, scale, bias, int8_inputs=True, dtype=dtype, implementation=implementation)
    top = np.abs(np.asarray(x, np.float32)).max(axis=1, keepdims=True)
    # In float32, as it is rounded: values in the middle of two steps are common in bfloat16.
    whole = np.round(np.asarray(x, np.float32) * (np.float32(127) / np.where(top > 0, top, np.float32(1))))
    rounded = np.asarray(whole, np.float64) * (top / 127)
    expected = exact(rounded, np.asarray(weight, np.float64) * np.asarray(scale, np.float64)[:, None]) + bias
    np.testing.assert_allclose(y, expected, rtol=0, atol=2e-5 * in_dim**0.5)


@every
def test_nan_is_not_rounded_to_a_number(implementation: Any) -> None:
    weight, scale = quantised(10, 64)
    x = draw(20, 64).at[7, 3].set(jnp.nan)
    y = linear(x, weight, scale, int8_inputs=True, dtype=jnp.bfloat16, implementation=implementation)
    bad = np.isnan(np.asarray(y))
    assert bad[7].all()
    assert not np.delete(bad, 7, axis=0).any()


def test_int8_inputs_need_int8_weights() -> None:
    with pytest.raises(ValueError, match="int8_inputs needs int8 weights, not float32"):
        linear(draw(2, 64), draw(3, 64), int8_inputs=True, dtype=jnp.float32)

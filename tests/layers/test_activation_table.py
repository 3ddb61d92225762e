"""Every activation is the formula that transformers means by its name."""

import math
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
import pytest

from jaxcls.layers.activation import activation


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def gelu(x: float) -> float:
    return x * 0.5 * (1 + math.erf(x / math.sqrt(2)))


def tanh_gelu(x: float) -> float:
    return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def silu(x: float) -> float:
    return x * sigmoid(x)


FORMULAS: dict[str, Callable[[float], float]] = {
    "gelu": gelu,
    "gelu_python": gelu,
    "gelu_10": lambda x: min(max(gelu(x), -10), 10),
    "gelu_new": tanh_gelu,
    "gelu_fast": tanh_gelu,
    "gelu_accurate": tanh_gelu,
    "gelu_pytorch_tanh": tanh_gelu,
    "gelu_python_tanh": tanh_gelu,
    "quick_gelu": lambda x: x * sigmoid(1.702 * x),
    "hardswish": lambda x: x * min(max(x + 3, 0), 6) / 6,
    "leaky_relu": lambda x: x if x >= 0 else 0.01 * x,
    "linear": lambda x: x,
    "mish": lambda x: x * math.tanh(math.log1p(math.exp(-abs(x))) + max(x, 0)),
    "relu": lambda x: max(x, 0),
    "relu2": lambda x: max(x, 0) ** 2,
    "relu6": lambda x: min(max(x, 0), 6),
    "sigmoid": sigmoid,
    "silu": silu,
    "swish": silu,
    "tanh": math.tanh,
}
GRID = np.concatenate([np.linspace(-8, 8, 161), [-100.0, -20.0, 20.0, 100.0]]).astype(np.float32)


@pytest.mark.parametrize("name", FORMULAS)
def test_formula(name: str) -> None:
    expected = [FORMULAS[name](float(x)) for x in GRID]
    np.testing.assert_allclose(activation(name)(jnp.asarray(GRID)), expected, atol=2e-6, rtol=2e-6)


def test_the_two_gelus_are_not_the_same() -> None:
    x = jnp.asarray(GRID)
    assert np.abs(activation("gelu")(x) - activation("gelu_new")(x)).max() > 1e-4


def test_an_unknown_name_lists_exactly_the_known_ones() -> None:
    """So FORMULAS above has them all."""
    listed = ", ".join(sorted(FORMULAS))
    with pytest.raises(ValueError, match=f"^unknown activation 'softgelu'; known: {listed}$"):
        activation("softgelu")


@pytest.mark.parametrize("name", FORMULAS)
def test_the_dtype_is_kept(name: str) -> None:
    assert activation(name)(jnp.ones(3, jnp.bfloat16)).dtype == jnp.bfloat16

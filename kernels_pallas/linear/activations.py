"""Activations that a linear layer's kernel can apply to its result."""

import math
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# Order is the number that compiled kernels know them by.
Activation = Literal["none", "gelu", "gelu_tanh", "silu", "relu"]


def _gelu(x: Float[Array, "*dims"]) -> Float[Array, "*dims"]:
    # jax.nn.gelu calls erfc, two polynomials and an exp for every element where erf is one polynomial.
    return 0.5 * x * (1.0 + jax.lax.erf(x * math.sqrt(0.5)))


ACTIVATIONS: dict[Activation, Callable[[Float[Array, "*dims"]], Float[Array, "*dims"]]] = {
    "none": lambda x: x,
    "gelu": _gelu,
    "gelu_tanh": lambda x: jax.nn.gelu(x, approximate=True),
    "silu": jax.nn.silu,
    "relu": lambda x: jnp.maximum(x, 0.0),
}

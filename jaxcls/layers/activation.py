"""Activations by the names that config.json uses (transformers' ACT2FN)."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Activation = Callable[[Float[Array, "*dims"]], Float[Array, "*dims"]]


def _gelu_erf(x: Float[Array, "*dims"]) -> Float[Array, "*dims"]:
    # jax.nn.gelu calls erfc, two polynomials and an exp for every element where erf is one polynomial.
    return 0.5 * x * (1.0 + jax.lax.erf(x * math.sqrt(0.5)))


def _gelu_tanh(x: Float[Array, "*dims"]) -> Float[Array, "*dims"]:
    return jax.nn.gelu(x, approximate=True)


def _quick_gelu(x: Float[Array, "*dims"]) -> Float[Array, "*dims"]:
    return x * jax.nn.sigmoid(1.702 * x)


# "gelu" is the erf form in transformers; JAX's own default is the tanh form.
_ACTIVATIONS: dict[str, Activation] = {
    "gelu": _gelu_erf,
    "gelu_python": _gelu_erf,
    "gelu_10": lambda x: jnp.clip(_gelu_erf(x), -10, 10),
    "gelu_new": _gelu_tanh,
    "gelu_fast": _gelu_tanh,
    "gelu_accurate": _gelu_tanh,
    "gelu_pytorch_tanh": _gelu_tanh,
    "gelu_python_tanh": _gelu_tanh,
    "quick_gelu": _quick_gelu,
    "hardswish": jax.nn.hard_swish,
    "leaky_relu": lambda x: jax.nn.leaky_relu(x, 0.01),
    "linear": lambda x: x,
    "mish": jax.nn.mish,
    "relu": jax.nn.relu,
    "relu2": lambda x: jnp.square(jax.nn.relu(x)),
    "relu6": jax.nn.relu6,
    "sigmoid": jax.nn.sigmoid,
    "silu": jax.nn.silu,
    "swish": jax.nn.silu,
    "tanh": jnp.tanh,
}


def activation(name: str) -> Activation:
    """The activation that transformers calls `name`.

    Raises:
        ValueError: no such activation; the message lists those there are.
    """
    try:
        return _ACTIVATIONS[name]
    except KeyError:
        raise ValueError(f"unknown activation {name!r}; known: {', '.join(sorted(_ACTIVATIONS))}") from None

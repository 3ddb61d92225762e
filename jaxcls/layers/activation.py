"""Activations by the names that config.json uses (transformers' ACT2FN)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kernels_pallas.linear import ACTIVATIONS, Activation

ActivationFunction = Callable[[Float[Array, "*dims"]], Float[Array, "*dims"]]


def _quick_gelu(x: Float[Array, "*dims"]) -> Float[Array, "*dims"]:
    return x * jax.nn.sigmoid(1.702 * x)


# Those that a linear layer applies itself, by the op's names; "gelu" is the erf form in transformers.
FUSED: dict[str, Activation] = {
    "linear": "none",
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_accurate": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_python_tanh": "gelu_tanh",
    "silu": "silu",
    "swish": "silu",
    "relu": "relu",
}

_ACTIVATIONS: dict[str, ActivationFunction] = {
    **{name: ACTIVATIONS[fused] for name, fused in FUSED.items()},
    "gelu_10": lambda x: jnp.clip(ACTIVATIONS["gelu"](x), -10, 10),
    "quick_gelu": _quick_gelu,
    "hardswish": jax.nn.hard_swish,
    "leaky_relu": lambda x: jax.nn.leaky_relu(x, 0.01),
    "mish": jax.nn.mish,
    "relu2": lambda x: jnp.square(jax.nn.relu(x)),
    "relu6": jax.nn.relu6,
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
}


def activation(name: str) -> ActivationFunction:
    """The activation that transformers calls `name`.

    Raises:
        ValueError: no such activation; the message lists those there are.
    """
    try:
        return _ACTIVATIONS[name]
    except KeyError:
        raise ValueError(f"unknown activation {name!r}; known: {', '.join(sorted(_ACTIVATIONS))}") from None

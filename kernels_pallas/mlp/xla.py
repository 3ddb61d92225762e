"""The op in plain XLA, for every backend."""

from functools import partial

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from kernels_pallas.linear import Activation, linear
from kernels_pallas.mlp.matrix import Matrix


def mlp(
    x: Float[Array, "*batch D"],
    up: Matrix,
    down: Matrix,
    gate: Matrix | None,
    residual: Float[Array, "*batch D"] | None,
    num_tokens: Int[Array, ""] | None,
    *,
    activation: Activation,
    int8_inputs: bool,
    dtype: DTypeLike,
) -> Float[Array, "*batch D"]:
    """See `kernels_pallas.mlp.api.mlp`."""
    layer = partial(linear, num_tokens=num_tokens, int8_inputs=int8_inputs, dtype=dtype, implementation="xla")
    # The next product would round the hidden layer; int8 takes it as it is.
    hidden_dtype = jnp.float32 if int8_inputs else dtype
    if gate is None:
        hidden = layer(x, *up, activation=activation, out_dtype=hidden_dtype)
    else:
        hidden = (layer(x, *gate, activation=activation) * layer(x, *up)).astype(hidden_dtype)
    return layer(hidden, *down, residual=residual)

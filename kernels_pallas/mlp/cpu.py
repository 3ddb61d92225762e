"""The op as a compiled kernel for x86-64 CPUs (kernels_cpu/src/mlp.h).

The hidden layer, the widest array of a model, is never stored token by token: it is made in the order in which the next
product takes it.
"""

from collections.abc import Sequence
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from kernels_pallas.compiled import with_gradient_of
from kernels_pallas.linear import Activation, cpu
from kernels_pallas.linear.cpu import given
from kernels_pallas.mlp import xla
from kernels_pallas.mlp.matrix import Matrix


def unsupported(x: jax.Array, matrices: Sequence[Matrix], dtype: DTypeLike, int8_inputs: bool) -> str | None:
    """Why the kernel cannot compute this block; None if it can."""
    if len({matrix.weight.dtype for matrix in matrices}) > 1:
        return "the weights have different dtypes"
    reasons = (cpu.unsupported(x, matrix.weight, dtype, int8_inputs) for matrix in matrices)
    return next((reason for reason in reasons if reason is not None), None)


@with_gradient_of(xla.mlp)
def mlp(
    x: Float[Array, "T D"],
    up: Matrix,
    down: Matrix,
    gate: Matrix | None,
    residual: Float[Array, "T D"] | None,
    num_tokens: Int[Array, ""] | None,
    *,
    activation: Activation,
    int8_inputs: bool,
    dtype: DTypeLike,
) -> Float[Array, "T D"]:
    """See `kernels_pallas.mlp.api.mlp`; differentiated through the XLA implementation."""
    del dtype
    result = jax.ShapeDtypeStruct((x.shape[0], down.weight.shape[0]), jnp.float32)
    call = jax.ffi.ffi_call("jaxcls_mlp", result, vmap_method="sequential")
    absent = Matrix(jnp.zeros((0, 0), up.weight.dtype))
    matrices = [part for matrix in (up, gate or absent, down) for part in (matrix.weight, *given(*matrix[1:]))]
    count = jnp.zeros((0,), jnp.int32) if num_tokens is None else num_tokens.reshape(1)
    number = np.int64(get_args(Activation).index(activation))
    return call(x.astype(jnp.float32), *matrices, *given(residual), count, activation=number, rounded=int8_inputs)

"""The op's typed front: validates, then dispatches on `implementation`."""

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from kernels_pallas.compiled import Implementation, dispatch
from kernels_pallas.linear import Activation
from kernels_pallas.mlp import cpu, xla
from kernels_pallas.mlp.matrix import Matrix


# jit: traced once for all layers of a model.
@partial(jax.jit, static_argnames=("activation", "int8_inputs", "dtype", "implementation"))
def mlp(
    x: Float[Array, "*batch D"],
    up: Matrix,
    down: Matrix,
    gate: Matrix | None = None,
    residual: Float[Array, "*batch D"] | None = None,
    num_tokens: Int[Array, ""] | None = None,
    *,
    activation: Activation,
    int8_inputs: bool = False,
    dtype: DTypeLike,
    implementation: Implementation | None = None,
) -> Float[Array, "*batch D"]:
    """down(activation(up x)) + residual, or down(activation(gate x) * up x) + residual.

    Args:
        x: inputs, rounded to `dtype` for the product.
        up: [F, D]; into the hidden layer.
        down: [D, F]; out of it.
        gate: [F, D]; None: the block has no gate.
        residual: is added to the result; what the block was given.
        num_tokens: int32; rows of x from this one on are padding, whose results are finite and meaningless. A kernel
            skips them. None: there is no padding.
        activation: what is applied in the hidden layer, in float32.
        int8_inputs: what is multiplied is rounded to int8 as well, each token with a scale of its own, and products are
            those of whole numbers; for int8 weights.
        dtype: what is multiplied with weights; sums and what follows them are float32.
        implementation: "cpu" is a compiled kernel for x86-64 with AVX-512, "xla" runs everywhere; None: the kernel on
            CPUs wherever it can.

    Returns:
        float32.

    Raises:
        ValueError: `implementation` cannot do this; says why. `int8_inputs` without int8 weights.
    """
    options = {"activation": activation, "int8_inputs": int8_inputs, "dtype": dtype}
    matrices = [up, down] if gate is None else [up, gate, down]
    for matrix in matrices:
        if int8_inputs and matrix.weight.dtype != jnp.int8:
            raise ValueError(f"int8_inputs needs int8 weights, not {matrix.weight.dtype}")
    reason = cpu.unsupported(x, matrices, dtype, int8_inputs)
    operands = (x, up, down, gate, residual, num_tokens)
    kernels = {"cpu": partial(cpu.mlp, **options), "xla": partial(xla.mlp, **options)}
    return dispatch(implementation, reason, *operands, **kernels)

"""The op's typed front: validates, then dispatches on `implementation`."""

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Num

from kernels_pallas.compiled import Implementation, dispatch
from kernels_pallas.linear import cpu, xla
from kernels_pallas.linear.activations import Activation


# jit: traced once for all layers of a model.
@partial(jax.jit, static_argnames=("activation", "int8_inputs", "dtype", "out_dtype", "implementation"))
def linear(
    x: Float[Array, "*batch in"],
    weight: Num[Array, "out in"],
    scale: Float[Array, " out"] | None = None,
    bias: Float[Array, " out"] | None = None,
    residual: Float[Array, "*batch out"] | None = None,
    num_tokens: Int[Array, ""] | None = None,
    *,
    activation: Activation = "none",
    int8_inputs: bool = False,
    dtype: DTypeLike,
    out_dtype: DTypeLike = jnp.float32,
    implementation: Implementation | None = None,
) -> Float[Array, "*batch out"]:
    """activation(x W^T + b) + residual.

    Args:
        x: inputs, rounded to `dtype` for the product.
        weight: W in `dtype`; or int8, and then W = weight * scale of each row.
        scale: of each row of an int8 weight, float32.
        bias: b.
        residual: is added to the activated result; what the block was given.
        num_tokens: int32; rows of x from this one on are padding, whose results are finite and meaningless. A kernel
            skips them. None: there is no padding.
        activation: what is applied to x W^T + b, in float32.
        int8_inputs: x is rounded to int8 as well, each token with a scale of its own, and the product is one of whole
            numbers; for int8 weights.
        dtype: what x and W are multiplied in; sums are float32.
        out_dtype: of the result, which is rounded once.
        implementation: "cpu" is a compiled kernel for x86-64 with AVX-512, "xla" runs everywhere; None: the kernel on
            CPUs wherever it can.

    Raises:
        ValueError: `implementation` cannot do this; says why. `int8_inputs` without int8 weights.
    """
    if int8_inputs and weight.dtype != jnp.int8:
        raise ValueError(f"int8_inputs needs int8 weights, not {weight.dtype}")
    options = {"activation": activation, "int8_inputs": int8_inputs, "dtype": dtype, "out_dtype": out_dtype}
    operands = (x, weight, scale, bias, residual, num_tokens)
    kernels = {"cpu": partial(cpu.linear, **options), "xla": partial(xla.linear, **options)}
    return dispatch(implementation, cpu.unsupported(x, weight, dtype, int8_inputs), *operands, **kernels)

"""The op as a compiled kernel for x86-64 CPUs (kernels_cpu/src/linear.cc)."""

from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Num

from kernels_cpu import library
from kernels_pallas.compiled import with_gradient_of
from kernels_pallas.linear import xla
from kernels_pallas.linear.activations import Activation


def unsupported(x: jax.Array, weight: jax.Array, dtype: DTypeLike, int8_inputs: bool) -> str | None:
    """Why the kernel cannot compute this product; None if it can."""
    # Products of int8 inputs are not in `dtype`; the kernels for them come with those for bfloat16.
    name = "bfloat16" if int8_inputs else jnp.dtype(dtype).name
    if name not in library().dtypes:
        return library().reason or f"there is no kernel for {name}"
    if weight.dtype.name not in {"float32": ("float32",), "bfloat16": ("bfloat16", "int8")}[name]:
        return f"the weights are {weight.dtype}, not {name}"
    if x.ndim != 2:
        return "x must be [tokens, in]"
    # 16 units of 32 bits: what is transposed at once.
    step = 64 // (1 if int8_inputs else jnp.dtype(dtype).itemsize)
    if weight.shape[1] % step:
        return f"the inputs, {weight.shape[1]}, are not a multiple of {step}"
    return None


def linear(
    x: Float[Array, "T in"],
    weight: Num[Array, "out in"],
    scale: Float[Array, " out"] | None,
    bias: Float[Array, " out"] | None,
    residual: Float[Array, "T out"] | None,
    num_tokens: Int[Array, ""] | None,
    *,
    activation: Activation,
    int8_inputs: bool,
    dtype: DTypeLike,
    out_dtype: DTypeLike,
) -> Float[Array, "T out"]:
    """See `kernels_pallas.linear.api.linear`; differentiated through the XLA implementation."""
    # The kernel rounds as it packs; other dtypes are made one that it takes.
    takes = (jnp.float32, jnp.bfloat16) if int8_inputs else (jnp.float32, dtype)
    x = x if x.dtype in takes else x.astype(takes[-1])
    stored = out_dtype if out_dtype in (jnp.float32, jnp.bfloat16) else jnp.float32
    options = {"activation": activation, "int8_inputs": int8_inputs, "dtype": dtype, "out_dtype": stored}
    return _linear(x, weight, scale, bias, residual, num_tokens, **options).astype(out_dtype)


@with_gradient_of(xla.linear)
def _linear(
    x: Float[Array, "T in"],
    weight: Num[Array, "out in"],
    scale: Float[Array, " out"] | None,
    bias: Float[Array, " out"] | None,
    residual: Float[Array, "T out"] | None,
    num_tokens: Int[Array, ""] | None,
    *,
    activation: Activation,
    int8_inputs: bool,
    dtype: DTypeLike,
    out_dtype: DTypeLike,
) -> Float[Array, "T out"]:
    del dtype
    result = jax.ShapeDtypeStruct((x.shape[0], weight.shape[0]), out_dtype)
    call = jax.ffi.ffi_call("jaxcls_linear", result, vmap_method="sequential")
    count = jnp.zeros((0,), jnp.int32) if num_tokens is None else num_tokens.reshape(1)
    number = np.int64(get_args(Activation).index(activation))
    return call(x, weight, *given(scale, bias, residual), count, activation=number, rounded=int8_inputs)


def given(*values: Float[Array, "..."] | None) -> list[Float[Array, "..."]]:
    """What kernels take for values that may be None: float32, without elements where there is none."""
    return [jnp.zeros((0,), jnp.float32) if value is None else value.astype(jnp.float32) for value in values]

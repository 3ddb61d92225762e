"""The op as a compiled kernel for x86-64 CPUs (kernels_cpu/src/linear.h)."""

from functools import partial
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from kernels_cpu import library
from kernels_pallas.linear import xla
from kernels_pallas.linear.activations import Activation


def unsupported(x: jax.Array, weight: jax.Array, dtype: DTypeLike) -> str | None:
    """Why the kernel cannot compute this product; None if it can."""
    name = jnp.dtype(dtype).name
    if name not in library().dtypes:
        return library().reason or f"there is no kernel for {name}"
    if weight.dtype != dtype:
        return f"the weights are {weight.dtype}, not {name}"
    if x.ndim != 2:
        return "x must be [tokens, in]"
    # 16 units of 32 bits: what is transposed at once.
    step = 64 // jnp.dtype(dtype).itemsize
    if weight.shape[1] % step:
        return f"the inputs, {weight.shape[1]}, are not a multiple of {step}"
    return None


def linear(
    x: Float[Array, "T in"],
    weight: Float[Array, "out in"],
    scale: Float[Array, " out"] | None,
    bias: Float[Array, " out"] | None,
    factor: Float[Array, "T out"] | None,
    *,
    activation: Activation,
    dtype: DTypeLike,
    out_dtype: DTypeLike,
) -> Float[Array, "T out"]:
    """See `kernels_pallas.linear.api.linear`; differentiated through the XLA implementation."""
    del scale
    # The kernel rounds as it packs; other dtypes than these two are rounded before.
    x = x if x.dtype in (jnp.float32, dtype) else x.astype(dtype)
    out_dtype = jnp.dtype(out_dtype)
    stored = out_dtype if out_dtype in (jnp.float32, jnp.bfloat16) else jnp.dtype(jnp.float32)
    y: Any = _linear(x, weight, bias, factor, activation, stored)
    return y.astype(out_dtype)


@partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _linear(
    x: Float[Array, "T in"],
    weight: Float[Array, "out in"],
    bias: Float[Array, " out"] | None,
    factor: Float[Array, "T out"] | None,
    activation: Activation,
    out_dtype: jnp.dtype,
) -> Float[Array, "T out"]:
    absent = jnp.zeros((0,), jnp.float32)
    call = jax.ffi.ffi_call(
        "jaxcls_linear",
        jax.ShapeDtypeStruct((x.shape[0], weight.shape[0]), out_dtype),
        vmap_method="sequential",
    )
    return call(
        x,
        weight,
        absent if bias is None else bias.astype(jnp.float32),
        absent if factor is None else factor.astype(jnp.float32),
        activation=np.int64(get_args(Activation).index(activation)),
    )


def _forward(
    x: Float[Array, "T in"],
    weight: Float[Array, "out in"],
    bias: Float[Array, " out"] | None,
    factor: Float[Array, "T out"] | None,
    activation: Activation,
    out_dtype: jnp.dtype,
) -> tuple[Float[Array, "T out"], tuple[jax.Array | None, ...]]:
    return _linear(x, weight, bias, factor, activation, out_dtype), (x, weight, bias, factor)


def _backward(
    activation: Activation, out_dtype: jnp.dtype, saved: tuple[jax.Array | None, ...], gradient: jax.Array
) -> tuple[jax.Array | None, ...]:
    def plain(x: jax.Array, weight: jax.Array, bias: jax.Array | None, factor: jax.Array | None) -> jax.Array:
        return xla.linear(x, weight, None, bias, factor, activation=activation, dtype=weight.dtype, out_dtype=out_dtype)

    return jax.vjp(plain, *saved)[1](gradient)


_linear.defvjp(_forward, _backward)

"""The op in plain XLA, for every backend."""

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Int8, Num

from kernels_pallas.linear.activations import ACTIVATIONS, Activation


def linear(
    x: Float[Array, "*batch in"],
    weight: Num[Array, "out in"],
    scale: Float[Array, " out"] | None,
    bias: Float[Array, " out"] | None,
    residual: Float[Array, "*batch out"] | None,
    num_tokens: Int[Array, ""] | None,
    *,
    activation: Activation,
    int8_inputs: bool,
    dtype: DTypeLike,
    out_dtype: DTypeLike,
) -> Float[Array, "*batch out"]:
    """See `kernels_pallas.linear.api.linear`.

    The product accumulates in float32 whatever the dtype: without that, XLA on CPU converts both bfloat16 operands,
    weights included, to float32 in every call. Whole numbers up to 127 are exact in every dtype, so a scale need only
    multiply what the product gives. All rows are computed, whatever `num_tokens`.
    """
    del num_tokens
    contracted = (((x.ndim - 1,), (1,)), ((), ()))
    if int8_inputs:
        x, token_scale = _int8(x)
        y = jax.lax.dot_general(x, weight, contracted, preferred_element_type=jnp.int32) * token_scale
    else:
        # float32 means float32: TPUs and recent GPUs would otherwise multiply in fewer bits.
        precision = jax.lax.Precision.HIGHEST if dtype == jnp.float32 else jax.lax.Precision.DEFAULT
        operands = (x.astype(dtype), weight.astype(dtype))
        y = jax.lax.dot_general(*operands, contracted, precision=precision, preferred_element_type=jnp.float32)
    if scale is not None:
        y = y * scale
    if bias is not None:
        y = y + bias.astype(jnp.float32)
    y = ACTIVATIONS[activation](y)
    if residual is not None:
        y = y + residual
    return y.astype(out_dtype)


def _int8(x: Float[Array, "*batch in"]) -> tuple[Int8[Array, "*batch in"], Float[Array, "*batch 1"]]:
    """Every token as whole numbers up to 127, and what they are multiplied by."""
    x = x.astype(jnp.float32)
    top = jnp.abs(x).max(axis=-1, keepdims=True)
    return jnp.round(x * jnp.where(top > 0, 127.0 / top, 0.0)).astype(jnp.int8), top / 127.0

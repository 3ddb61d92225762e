"""Attention as a compiled kernel for x86-64 CPUs (kernels_cpu/src/attention.h): no padding, no masked products."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from kernels_cpu import library
from kernels_pallas.varlen_attention import xla

RowGroups = tuple[tuple[int, int], ...]
# Longer than any row.
_NO_WINDOW = 2**40


def unsupported(head_dim: int, dtype: DTypeLike, window: int | jax.Array | None) -> str | None:
    """Why the kernel cannot compute this attention; None if it can."""
    dtype = jnp.dtype(dtype)
    if dtype.name not in library().dtypes:
        return library().reason or f"there is no kernel for {dtype.name}"
    # 16 units of 32 bits: what is transposed at once.
    step = 64 // dtype.itemsize
    if head_dim % step:
        return f"the head dimension, {head_dim}, is not a multiple of {step}"
    if not (window is None or isinstance(window, int)):
        return "the window is traced"
    return None


@partial(jax.custom_vjp, nondiff_argnums=(4, 5, 6, 7))
def varlen_attention(
    q: Float[Array, "T N H"],
    k: Float[Array, "T K H"],
    v: Float[Array, "T K H"],
    segment_ids: Int[Array, " T"],
    row_groups: RowGroups,
    scale: float,
    causal: bool,
    window: int | None,
) -> Float[Array, "T N H"]:
    """See `kernels_pallas.varlen_attention.api.varlen_attention`; differentiated through the XLA implementation."""
    del row_groups
    call = jax.ffi.ffi_call("jaxcls_attention", jax.ShapeDtypeStruct(q.shape, q.dtype), vmap_method="sequential")
    return call(
        q,
        k,
        v,
        segment_ids,
        scale=np.float32(scale),
        causal=causal,
        window=np.int64(_NO_WINDOW if window is None else window),
    )


def _forward(*arguments: Any) -> tuple[Float[Array, "T N H"], tuple[Any, ...]]:
    return varlen_attention(*arguments), arguments[:4]


def _backward(
    row_groups: RowGroups,
    scale: float,
    causal: bool,
    window: int | None,
    saved: tuple[jax.Array, ...],
    gradient: Float[Array, "T N H"],
) -> tuple[jax.Array | None, ...]:
    q, k, v, segment_ids = saved

    def plain(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        return xla.varlen_attention(
            q, k, v, segment_ids, row_groups=row_groups, scale=scale, causal=causal, window=window
        )

    # Whole numbers have no gradient.
    return *jax.vjp(plain, q, k, v)[1](gradient), None


varlen_attention.defvjp(_forward, _backward)

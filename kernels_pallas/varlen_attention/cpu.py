"""Attention as a compiled kernel for x86-64 CPUs (kernels_cpu/src/attention.h): no padding, no masked products."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from kernels_cpu import library
from kernels_pallas.varlen_attention.gradient import Options, RowGroups, through_xla

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


def varlen_attention(
    q: Float[Array, "Q N H"],
    k: Float[Array, "T K H"],
    v: Float[Array, "T K H"],
    segment_ids: Int[Array, " T"],
    *,
    row_groups: RowGroups,
    scale: float,
    causal: bool,
    window: int | None,
    query_tokens: Int[Array, " Q"] | None,
) -> Float[Array, "Q N H"]:
    """See `kernels_pallas.varlen_attention.api.varlen_attention`; differentiated through the XLA implementation."""
    # The kernel has it in its options; XLA, which computes the gradient, as an array.
    limit = None if window is None else jnp.int32(window)
    options = _Options(row_groups, scale, causal, None, window)
    return _attend(q, k, v, segment_ids, None, limit, query_tokens, options)


@dataclasses.dataclass(frozen=True)
class _Options(Options):
    window: int | None


@through_xla
def _attend(
    q: Float[Array, "Q N H"],
    k: Float[Array, "T K H"],
    v: Float[Array, "T K H"],
    segment_ids: Int[Array, " T"],
    key_segment_ids: None,
    window: Int[Array, ""] | None,
    query_tokens: Int[Array, " Q"] | None,
    options: _Options,
) -> Float[Array, "Q N H"]:
    del key_segment_ids, window
    call = jax.ffi.ffi_call("jaxcls_attention", jax.ShapeDtypeStruct(q.shape, q.dtype), vmap_method="sequential")
    return call(
        q,
        k,
        v,
        segment_ids,
        jnp.zeros(0, jnp.int32) if query_tokens is None else query_tokens,
        scale=np.float32(options.scale),
        causal=options.causal,
        window=np.int64(_NO_WINDOW if options.window is None else options.window),
    )

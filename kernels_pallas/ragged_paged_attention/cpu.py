"""Paged attention as a compiled kernel for x86-64 CPUs (kernels_cpu/src/attention.h): exactly the keys there are."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from kernels_pallas.varlen_attention import cpu

# Longer than any sequence.
_NO_WINDOW = 2**40


def unsupported(
    head_dim: int, dtype: DTypeLike, pages_dtype: DTypeLike, window: int | jax.Array | None, soft_cap: float | None
) -> str | None:
    """Why the kernel cannot compute this attention; None if it can."""
    if soft_cap is not None:
        return "scores are capped"
    if jnp.dtype(dtype) != jnp.dtype(pages_dtype):
        return f"q is {jnp.dtype(dtype).name}, the pages are {jnp.dtype(pages_dtype).name}"
    return cpu.unsupported(head_dim, dtype, window)


def ragged_paged_attention(
    q: Float[Array, "T N H"],
    kv_pages: Float[Array, "P B twoK H"],
    kv_lens: Int[Array, " S"],
    pages: Int[Array, "S M"],
    cu_q_lens: Int[Array, " S1"],
    num_seqs: Int[Array, " 1"],
    *,
    scale: float,
    window: int | None,
) -> Float[Array, "T N H"]:
    """See `kernels_pallas.ragged_paged_attention.api.ragged_paged_attention`."""
    call = jax.ffi.ffi_call("jaxcls_paged_attention", jax.ShapeDtypeStruct(q.shape, q.dtype))
    limit = np.int64(_NO_WINDOW if window is None else window)
    return call(q, kv_pages, kv_lens, pages, cu_q_lens, num_seqs, scale=np.float32(scale), window=limit)

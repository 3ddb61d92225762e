"""One copy a token in compiled code: XLA on CPUs would widen all pages of bfloat16 for its scatter, and narrow them."""

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from kernels_cpu import library


def unsupported(dtype: DTypeLike) -> str | None:
    """Why the kernel cannot write pages of this kind; None if it can."""
    name = jnp.dtype(dtype).name
    return None if name in library().dtypes else library().reason or f"there is no kernel for {name}"


def write_pages(
    kv_pages: Float[Array, "P B twoK H"],
    k: Float[Array, "T K H"],
    v: Float[Array, "T K H"],
    slots: Int[Array, " T"],
) -> Float[Array, "P B twoK H"]:
    """See `kernels_pallas.write_pages.api.write_pages`."""
    same = jax.ShapeDtypeStruct(kv_pages.shape, kv_pages.dtype)
    call = jax.ffi.ffi_call("jaxcls_write_pages", same, input_output_aliases={0: 0})
    return call(kv_pages, k.astype(kv_pages.dtype), v.astype(kv_pages.dtype), slots)

"""The op as a compiled kernel for x86-64 CPUs (kernels_cpu/src/elementwise.cc).

XLA on CPUs would compute the cosines and sines again where they are used, in every head of every layer; to a kernel
they are arrays, which it has to make once.
"""

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from kernels_cpu import library
from kernels_pallas.compiled import with_gradient_of
from kernels_pallas.rotate import xla


def unsupported(x: jax.Array, out_dtype: DTypeLike) -> str | None:
    """Why the kernel cannot rotate this; None if it can."""
    name = jnp.dtype(out_dtype).name
    if name not in library().dtypes:
        return library().reason or f"there is no kernel for {name}"
    return None if x.dtype == jnp.float32 else f"there is no kernel for {x.dtype}"


@with_gradient_of(xla.rotate)
def rotate(
    x: Float[Array, "T N H"], cos: Float[Array, "T half"], sin: Float[Array, "T half"], *, out_dtype: DTypeLike
) -> Float[Array, "T N H"]:
    """See `kernels_pallas.rotate.api.rotate`; differentiated through the XLA implementation."""
    result = jax.ShapeDtypeStruct(x.shape, out_dtype)
    call = jax.ffi.ffi_call("jaxcls_rotate", result, vmap_method="sequential")
    return call(x, cos.astype(jnp.float32), sin.astype(jnp.float32))

"""The op as a compiled kernel for x86-64 CPUs (kernels_cpu/src/elementwise.cc): row by row, while it is in the cache.

XLA on CPUs makes five programs of it, two of them reductions that a library computes.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from kernels_cpu import library
from kernels_pallas.compiled import with_gradient_of
from kernels_pallas.norm import xla


def unsupported(x: jax.Array) -> str | None:
    """Why the kernel cannot normalise this; None if it can."""
    if "float32" not in library().dtypes:
        return library().reason
    return None if x.dtype == jnp.float32 else f"there is no kernel for {x.dtype}"


@with_gradient_of(xla.norm)
def norm(
    x: Float[Array, "*batch D"],
    weight: Float[Array, " D"],
    bias: Float[Array, " D"] | None,
    *,
    eps: float,
    centred: bool,
) -> Float[Array, "*batch D"]:
    """See `kernels_pallas.norm.api.norm`; differentiated through the XLA implementation."""
    call = jax.ffi.ffi_call("jaxcls_norm", jax.ShapeDtypeStruct(x.shape, jnp.float32), vmap_method="sequential")
    added = jnp.zeros((0,), jnp.float32) if bias is None else bias.astype(jnp.float32)
    return call(x, weight.astype(jnp.float32), added, eps=np.float32(eps), centred=centred)

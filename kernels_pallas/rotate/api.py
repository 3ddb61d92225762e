"""The op's typed front: dispatches on `implementation`."""

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from kernels_pallas.compiled import Implementation, dispatch
from kernels_pallas.rotate import cpu, xla


# jit: traced once for all layers of a model.
@partial(jax.jit, static_argnames=("out_dtype", "implementation"))
def rotate(
    x: Float[Array, "T N H"],
    cos: Float[Array, "T half"],
    sin: Float[Array, "T half"],
    *,
    out_dtype: DTypeLike = jnp.float32,
    implementation: Implementation | None = None,
) -> Float[Array, "T N H"]:
    """Rotates pairs (i, i + half), the layout of Hugging Face checkpoints (arXiv:2104.09864), in float32.

    Args:
        x: heads of every token; what is beyond 2 half stays as it is.
        cos: cosines of every token's angles, float32.
        sin: their sines.
        out_dtype: of the result, which is rounded once.
        implementation: "cpu" is a compiled kernel for x86-64 with AVX-512, "xla" runs everywhere; None: the kernel on
            CPUs wherever it can.

    Raises:
        ValueError: `implementation` cannot do this; says why.
    """
    kernels = {"cpu": partial(cpu.rotate, out_dtype=out_dtype), "xla": partial(xla.rotate, out_dtype=out_dtype)}
    return dispatch(implementation, cpu.unsupported(x, out_dtype), x, cos, sin, **kernels)

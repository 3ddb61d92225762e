"""The op's typed front: dispatches on `implementation`."""

from functools import partial

import jax
from jaxtyping import Array, Float

from kernels_pallas.compiled import Implementation, dispatch
from kernels_pallas.norm import cpu, xla


# jit: traced once for all layers of a model.
@partial(jax.jit, static_argnames=("eps", "centred", "implementation"))
def norm(
    x: Float[Array, "*batch D"],
    weight: Float[Array, " D"],
    bias: Float[Array, " D"] | None = None,
    *,
    eps: float,
    centred: bool,
    implementation: Implementation | None = None,
) -> Float[Array, "*batch D"]:
    """Normalises the last axis: y / sqrt(mean(y^2) + eps) * weight + bias, with y = x - mean(x) if `centred`, else x.

    Args:
        x: any float dtype; everything is computed in float32, in two passes: E[x^2] - E[x]^2 would cancel where the
            mean is large.
        weight: multiplies what is normalised.
        bias: is added to it.
        eps: of the root.
        centred: LayerNorm (arXiv:1607.06450); otherwise RMSNorm (arXiv:1910.07467).
        implementation: "cpu" is a compiled kernel for x86-64 with AVX-512, "xla" runs everywhere; None: the kernel on
            CPUs wherever it can.

    Returns:
        float32.

    Raises:
        ValueError: `implementation` cannot do this; says why.
    """
    options = {"eps": eps, "centred": centred}
    kernels = {"cpu": partial(cpu.norm, **options), "xla": partial(xla.norm, **options)}
    return dispatch(implementation, cpu.unsupported(x), x, weight, bias, **kernels)

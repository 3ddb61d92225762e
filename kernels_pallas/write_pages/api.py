"""The op's typed front: validates shapes, then dispatches on `implementation`."""

from typing import Literal, get_args

import jax
from jaxtyping import Array, Float, Int

from kernels_pallas.platform import traced_for
from kernels_pallas.write_pages import xla

Implementation = Literal["xla", "tpu", "tpu-interpret"]


def write_pages(
    kv_pages: Float[Array, "P B twoK H"],
    k: Float[Array, "T K H"],
    v: Float[Array, "T K H"],
    slots: Int[Array, " T"],
    *,
    implementation: Implementation | None = None,
) -> Float[Array, "P B twoK H"]:
    """Puts each token's keys and values into its slot.

    An op apart from attention, because all tokens of a step are written before any is read: so a sequence may read
    pages that another one fills in the same step.

    Args:
        kv_pages: pages of B tokens; on the third axis each head's key is followed by its value.
        k: keys, rounded to the dtype of the pages.
        v: values.
        slots: page * B + offset of each token, each at most once; a number of P * B or more: the token is not written.
        implementation: "tpu" is a Pallas kernel, "tpu-interpret" the same on any machine, slowly, "xla" runs
            everywhere; None: the kernel of the platform wherever it can, else "xla".

    Returns:
        The pages; the same memory where the argument is donated.

    Raises:
        ValueError: shapes that do not fit each other, or an implementation that is unknown or cannot do this; says why.
    """
    if k.shape != v.shape or kv_pages.shape[2:] != (2 * k.shape[1], k.shape[2]):
        raise ValueError(f"keys {k.shape} and values {v.shape} do not fit pages of shape {kv_pages.shape}")
    arguments = (kv_pages, k, v, slots)
    if implementation == "xla":
        return xla.write_pages(*arguments)
    if implementation is None and traced_for() != "tpu":
        return xla.write_pages(*arguments)
    if implementation not in (None, "tpu", "tpu-interpret"):
        choices = ", ".join(map(repr, get_args(Implementation)))
        raise ValueError(f"unknown implementation {implementation!r}; choose {choices}")
    from kernels_pallas.write_pages import tpu

    reason = tpu.unsupported(len(k), kv_pages.dtype)
    if implementation is not None:
        if reason is not None:
            raise ValueError(f"implementation={implementation!r}: {reason}; use 'xla'")
        return tpu.write_pages(*arguments, interpret=implementation == "tpu-interpret")
    if reason is not None:
        return xla.write_pages(*arguments)
    return jax.lax.platform_dependent(*arguments, tpu=tpu.write_pages, default=xla.write_pages)

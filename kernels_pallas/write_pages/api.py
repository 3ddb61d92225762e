"""The op's typed front: validates shapes, then dispatches on `implementation`."""

from typing import Literal

from jaxtyping import Array, Float, Int

from kernels_pallas.write_pages import xla

Implementation = Literal["xla"]


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
        implementation: "xla" runs everywhere; None: the best there is.

    Returns:
        The pages; the same memory where the argument is donated.

    Raises:
        ValueError: shapes that do not fit each other, or an unknown implementation.
    """
    if k.shape != v.shape or kv_pages.shape[2:] != (2 * k.shape[1], k.shape[2]):
        raise ValueError(f"keys {k.shape} and values {v.shape} do not fit pages of shape {kv_pages.shape}")
    match implementation:
        case "xla" | None:
            return xla.write_pages(kv_pages, k, v, slots)
        case _:
            raise ValueError(f"unknown implementation {implementation!r}; choose 'xla'")

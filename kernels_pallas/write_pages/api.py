"""The op's typed front: validates shapes, then dispatches on `implementation`."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, get_args

import jax
from jaxtyping import Array, Float, Int

from kernels_pallas.platform import traced_for
from kernels_pallas.write_pages import xla

Implementation = Literal["xla", "cpu", "tpu", "tpu-interpret"]


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
        implementation: "cpu" is compiled for x86-64 with AVX-512, "tpu" is a Pallas kernel, "tpu-interpret" the same on
            any machine, slowly, "xla" runs everywhere; None: the kernel of the platform wherever it can, else "xla".

    Returns:
        The pages; the same memory where the argument is donated.

    Raises:
        ValueError: shapes that do not fit each other, or an implementation that is unknown or cannot do this; says why.
    """
    if k.shape != v.shape or kv_pages.shape[2:] != (2 * k.shape[1], k.shape[2]):
        raise ValueError(f"keys {k.shape} and values {v.shape} do not fit pages of shape {kv_pages.shape}")
    arguments = (kv_pages, k, v, slots)
    if implementation is None:
        kernels = _kernels(kv_pages, k)
        return (
            jax.lax.platform_dependent(*arguments, **kernels, default=xla.write_pages)
            if kernels
            else xla.write_pages(*arguments)
        )
    match implementation:
        case "xla":
            return xla.write_pages(*arguments)
        case "cpu":
            reason, run = _cpu(kv_pages)
        case "tpu" | "tpu-interpret":
            reason, run = _tpu(kv_pages, k, interpret=implementation == "tpu-interpret")
        case _:
            choices = ", ".join(map(repr, get_args(Implementation)))
            raise ValueError(f"unknown implementation {implementation!r}; choose {choices}")
    if reason is not None:
        raise ValueError(f"implementation={implementation!r}: {reason}; use 'xla'")
    return run(*arguments)


# What writes; and why it cannot, None if it can.
_Kernel = tuple[str | None, Callable[..., jax.Array]]


def _kernels(kv_pages: jax.Array, k: jax.Array) -> dict[str, Any]:
    """By platform, what does this better than XLA. Only where there is one: imports and traces take a while."""
    found: dict[str, _Kernel] = {}
    if traced_for() == "cpu":
        found["cpu"] = _cpu(kv_pages)
    if traced_for() == "tpu":
        found["tpu"] = _tpu(kv_pages, k, interpret=False)
    return {platform: run for platform, (reason, run) in found.items() if reason is None}


def _cpu(kv_pages: jax.Array) -> _Kernel:
    from kernels_pallas.write_pages import cpu

    return cpu.unsupported(kv_pages.dtype), cpu.write_pages


def _tpu(kv_pages: jax.Array, k: jax.Array, *, interpret: bool) -> _Kernel:
    from kernels_pallas.write_pages import tpu

    return tpu.unsupported(len(k), kv_pages.dtype), partial(tpu.write_pages, interpret=interpret)

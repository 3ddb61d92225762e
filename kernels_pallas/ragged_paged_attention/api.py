"""The op's typed front: validates shapes, then dispatches on `implementation`."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, get_args

import jax
from jaxtyping import Array, Float, Int

from kernels_pallas.platform import traced_for
from kernels_pallas.ragged_paged_attention import reference, xla

Implementation = Literal["xla", "cpu", "gpu", "tpu", "tpu-interpret", "reference"]


def ragged_paged_attention(
    q: Float[Array, "T N H"],
    kv_pages: Float[Array, "P B twoK H"],
    kv_lens: Int[Array, " S"],
    pages: Int[Array, "S M"],
    cu_q_lens: Int[Array, " S1"],
    num_seqs: Int[Array, " 1"],
    *,
    scale: float,
    window: int | Int[Array, ""] | None = None,
    soft_cap: float | None = None,
    implementation: Implementation | None = None,
) -> Float[Array, "T N H"]:
    """Softmax attention of each sequence's last tokens over all its tokens, whose keys and values lie in pages.

    The queries of a sequence are its last q_len = cu_q_lens[s + 1] - cu_q_lens[s] tokens; query i sees the keys at
    positions <= kv_len - q_len + i. The signature is that of JAX's kernel for TPUs.

    Args:
        q: queries, sequence after sequence; N is a multiple of K (grouped-query attention).
        kv_pages: pages of B tokens; on the third axis each head's key is followed by its value. Slots that no sequence
            has written, or that belong to others, may hold anything, NaN included.
        kv_lens: tokens of each sequence, those of `q` included.
        pages: the pages of each sequence, in order; entries beyond ceil(kv_len / B) may be anything inside 0..P-1.
        cu_q_lens: where each sequence's queries begin in the stream, and where the last one's end.
        num_seqs: how many of the S are there; entries of the others are ignored.
        scale: factor on q k^T, usually H ** -0.5.
        window: a token sees those at distance < window backwards. None: no limit. May be a traced int32 scalar.
        soft_cap: scores s become soft_cap * tanh(s / soft_cap) (Gemma 2). None: they stay as they are.
        implementation: "cpu" is a compiled kernel for x86-64 with AVX-512, "gpu" a Mosaic GPU kernel for Hopper, "tpu"
            a Pallas kernel, "tpu-interpret" the same on any machine, slowly, "xla" runs everywhere, "reference" is the
            fp32 oracle for tests; None: the kernel of the platform wherever it can, else "xla".

    Returns:
        Weighted values; of positions from cu_q_lens[num_seqs] on, finite and meaningless.

    Raises:
        ValueError: shapes that do not fit each other, or an implementation that is unknown or cannot do this; says why.
    """
    _check(q.shape, kv_pages.shape, cu_q_lens.shape[0] - kv_lens.shape[0])
    if isinstance(window, int) and window < 1:
        raise ValueError(f"window must be at least 1, got {window}: a token sees itself")
    arguments = (q, kv_pages, kv_lens, pages, cu_q_lens, num_seqs)
    options: dict[str, Any] = {"scale": scale, "window": window, "soft_cap": soft_cap}
    run_xla = partial(xla.ragged_paged_attention, **options)
    if implementation is None:
        kernels = _kernels(arguments, options)
        return jax.lax.platform_dependent(*arguments, **kernels, default=run_xla) if kernels else run_xla(*arguments)
    match implementation:
        case "xla":
            return run_xla(*arguments)
        case "reference":
            return reference.ragged_paged_attention(*arguments, **options)
        case "cpu":
            reason, run = _cpu(arguments, options)
        case "gpu":
            reason, run = _gpu(arguments, options)
        case "tpu" | "tpu-interpret":
            reason, run = _tpu(arguments, options, interpret=implementation == "tpu-interpret")
        case _:
            choices = ", ".join(map(repr, get_args(Implementation)))
            raise ValueError(f"unknown implementation {implementation!r}; choose {choices}")
    if reason is not None:
        raise ValueError(f"implementation={implementation!r}: {reason}; use 'xla'")
    return run(*arguments)


# What computes the arguments; and why it cannot, None if it can.
_Kernel = tuple[str | None, Callable[..., jax.Array]]


def _kernels(arguments: tuple[jax.Array, ...], options: dict[str, Any]) -> dict[str, Any]:
    """By platform, what computes this better than XLA. Only where there is one: imports and traces take a while."""
    found: dict[str, _Kernel] = {}
    if traced_for() == "cpu":
        found["cpu"] = _cpu(arguments, options)
    if traced_for() == "cuda":
        found["cuda"] = _gpu(arguments, options)
    if traced_for() == "tpu":
        found["tpu"] = _tpu(arguments, options, interpret=False)
    return {platform: run for platform, (reason, run) in found.items() if reason is None}


def _cpu(arguments: tuple[jax.Array, ...], options: dict[str, Any]) -> _Kernel:
    from kernels_pallas.ragged_paged_attention import cpu

    q, kv_pages, *_ = arguments
    given = {name: options[name] for name in ("scale", "window")}
    reason = cpu.unsupported(q.shape[2], q.dtype, kv_pages.dtype, options["window"], options["soft_cap"])
    return reason, partial(cpu.ragged_paged_attention, **given)


def _gpu(arguments: tuple[jax.Array, ...], options: dict[str, Any]) -> _Kernel:
    from kernels_pallas.mosaic_gpu.target import limits_of, missing_instructions
    from kernels_pallas.ragged_paged_attention import gpu

    q, kv_pages, *_ = arguments
    reason = missing_instructions() or gpu.unsupported(
        q.shape[2], kv_pages.shape[1], q.dtype, kv_pages.dtype, options["scale"]
    )
    return reason, partial(gpu.ragged_paged_attention, **options, limits=limits_of("ragged_paged_attention"))


def _tpu(arguments: tuple[jax.Array, ...], options: dict[str, Any], *, interpret: bool) -> _Kernel:
    from kernels_pallas.ragged_paged_attention import tpu

    q, kv_pages, _, pages, *_ = arguments
    reason = tpu.unsupported(q.shape, kv_pages.shape, q.dtype, kv_pages.dtype, pages.shape)
    return reason, partial(tpu.ragged_paged_attention, **options, interpret=interpret)


def _check(q: tuple[int, ...], kv_pages: tuple[int, ...], ends: int) -> None:
    if kv_pages[2] % 2 or q[1] % (kv_pages[2] // 2):
        raise ValueError(f"{q[1]} query heads do not divide over {kv_pages[2]} keys and values of kv_pages")
    if ends != 1:
        raise ValueError(f"cu_q_lens needs one entry more than kv_lens, got {ends} more")

"""The op's typed front: validates shapes, then dispatches on `implementation`."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, get_args

import jax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from kernels_pallas.platform import traced_for
from kernels_pallas.varlen_attention import cpu, reference, xla

# (count, length): so many consecutive rows of so many tokens. No sequence crosses a row.
RowGroup = tuple[int, int]

Implementation = Literal["xla", "cpu", "gpu", "tpu", "tpu-interpret", "reference"]


def varlen_attention(
    q: Float[Array, "Q N H"],
    k: Float[Array, "T K H"],
    v: Float[Array, "T K H"],
    segment_ids: Int[Array, " T"],
    *,
    row_groups: tuple[RowGroup, ...],
    scale: float,
    causal: bool,
    window: int | Int[Array, ""] | None = None,
    soft_cap: float | None = None,
    bias: Float[Array, "rows N R R"] | None = None,
    key_segment_ids: Int[Array, " T"] | None = None,
    query_tokens: Int[Array, " Q"] | None = None,
    implementation: Implementation | None = None,
) -> Float[Array, "Q N H"]:
    """Softmax attention inside each segment of a packed stream.

    Args:
        q: queries; N is a multiple of K (grouped-query attention).
        k: keys.
        v: values.
        segment_ids: the sequence each token belongs to, int32; -1 is padding, whose outputs are finite and meaningless.
        row_groups: how the T tokens divide into rows; memory grows with row length, never with T squared.
        scale: factor on q k^T, usually H ** -0.5.
        causal: whether a token sees only itself and earlier tokens of its segment.
        window: a token sees those at distance < window (causal: backwards only). None: no limit.
            May be a traced int32 scalar, so that layers of one scan can differ.
        soft_cap: scores s become soft_cap * tanh(s / soft_cap) (Gemma 2). None: they stay as they are.
        bias: added to the scaled scores of the rows, all of one length R; of one row if every row's is the same.
        key_segment_ids: the sequence whose tokens see this one; None: its own. Another number where it is seen by none.
            Every token must see some other.
        query_tokens: the token that each row of q is of, -1: of none, with an output that is finite and meaningless.
            None: q has a row for each of the T tokens, in their order.
        implementation: "cpu" is a compiled kernel for x86-64 with AVX-512, "gpu" a Mosaic GPU kernel for Hopper, "tpu"
            a Pallas kernel, "tpu-interpret" the same on any machine, slowly, "xla" runs everywhere, "reference" is the
            quadratic fp32 oracle for tests; None: the kernel of the platform wherever it can, else "xla".

    Returns:
        Attention output in q's dtype; scores and softmax are float32.

    Raises:
        ValueError: N is not a multiple of K, the rows do not cover T, q has another number of rows than there are query
            tokens, a window that is not traced is below 1, a bias does not fit the rows, or the implementation is
            unknown or cannot do this; says why.
    """
    _check(q, k, row_groups, window, bias, query_tokens)
    options: dict[str, Any] = {
        "row_groups": row_groups,
        "scale": scale,
        "causal": causal,
        "window": window,
        "soft_cap": soft_cap,
        "key_segment_ids": key_segment_ids,
        "query_tokens": query_tokens,
    }
    operands = (q, k, v, segment_ids)
    run_xla = partial(xla.varlen_attention, **options, bias=bias)
    if implementation is None:
        kernels = _kernels(q, k, bias, options)
        return jax.lax.platform_dependent(*operands, **kernels, default=run_xla) if kernels else run_xla(*operands)
    match implementation:
        case "xla":
            return run_xla(*operands)
        case "reference":
            return _of_all(partial(reference.varlen_attention, bias=bias), options)(*operands)
        case "cpu":
            reason, run = _cpu(q, bias, options)
        case "gpu":
            reason, run = _gpu(q, bias, options)
        case "tpu" | "tpu-interpret":
            reason, run = _tpu(q, k, bias, options, interpret=implementation == "tpu-interpret")
        case _:
            choices = ", ".join(map(repr, get_args(Implementation)))
            raise ValueError(f"unknown implementation {implementation!r}; choose {choices}")
    if reason is not None:
        raise ValueError(f"implementation={implementation!r}: {reason}; use 'xla'")
    return run(*operands)


def _check(
    q: jax.Array,
    k: jax.Array,
    row_groups: tuple[RowGroup, ...],
    window: int | jax.Array | None,
    bias: jax.Array | None,
    query_tokens: jax.Array | None,
) -> None:
    num_tokens, num_heads = len(k), q.shape[1]
    if num_heads % k.shape[1]:
        raise ValueError(f"{num_heads} query heads cannot share {k.shape[1]} key/value heads")
    covered = sum(count * length for count, length in row_groups)
    if covered != num_tokens:
        raise ValueError(f"row groups {row_groups} cover {covered} tokens, but there are {num_tokens}")
    asking = num_tokens if query_tokens is None else len(query_tokens)
    if len(q) != asking:
        raise ValueError(f"{len(q)} queries, but {asking} tokens that they are of")
    if isinstance(window, int) and window < 1:
        raise ValueError(f"window must be at least 1, got {window}: a token sees itself")
    if bias is not None and not _fits(bias.shape, row_groups, num_heads):
        raise ValueError(f"a bias of shape {bias.shape} does not fit {num_heads} heads and row groups {row_groups}")


# What computes q, k, v and segment ids; and why it cannot, None if it can.
_Kernel = tuple[str | None, Callable[..., jax.Array]]


def _kernels(q: jax.Array, k: jax.Array, bias: jax.Array | None, options: dict[str, Any]) -> dict[str, Any]:
    """By platform, what computes this better than XLA."""
    found = {"cpu": _cpu(q, bias, options)}
    # Only where there is one: its import and its trace take a while.
    if traced_for() == "tpu":
        found["tpu"] = _tpu(q, k, bias, options, interpret=False)
    if traced_for() == "cuda":
        found["cuda"] = _gpu(q, bias, options)
    return {platform: run for platform, (reason, run) in found.items() if reason is None}


def _cpu(q: jax.Array, bias: jax.Array | None, options: dict[str, Any]) -> _Kernel:
    reason = cpu.unsupported(q.shape[2], q.dtype, options["window"])
    if reason is None and not (options["soft_cap"] is None and bias is None and options["key_segment_ids"] is None):
        reason = "scores are capped or have a bias, or some tokens are seen by none"

    def run(q: jax.Array, k: jax.Array, v: jax.Array, segment_ids: jax.Array) -> jax.Array:
        names = ("row_groups", "scale", "causal", "window", "query_tokens")
        return cpu.varlen_attention(q, k, v, segment_ids, **{name: options[name] for name in names})

    return reason, run


def _gpu(q: jax.Array, bias: jax.Array | None, options: dict[str, Any]) -> _Kernel:
    from kernels_pallas.mosaic_gpu.target import limits_of, missing_instructions
    from kernels_pallas.varlen_attention import gpu

    reason = missing_instructions() or gpu.unsupported(q.shape[2], q.dtype, options["scale"], bias)
    return reason, _of_all(partial(gpu.varlen_attention, limits=limits_of("varlen_attention")), options)


def _tpu(q: jax.Array, k: jax.Array, bias: jax.Array | None, options: dict[str, Any], *, interpret: bool) -> _Kernel:
    from kernels_pallas.varlen_attention import tpu

    reason = tpu.unsupported((len(k), *q.shape[1:]), k.shape[1], q.dtype, options["row_groups"], bias)
    return reason, _of_all(partial(tpu.varlen_attention, interpret=interpret), options)


def _of_all(run: Callable[..., jax.Array], options: dict[str, Any]) -> Callable[..., jax.Array]:
    """What computes the attention of all tokens, with its options given; only some may be wanted."""
    known = {name: value for name, value in options.items() if name != "query_tokens"}
    wanted = options["query_tokens"]
    return partial(run, **known) if wanted is None else xla.of_all(partial(run, **known), wanted)


def _fits(shape: tuple[int, ...], row_groups: tuple[RowGroup, ...], num_heads: int) -> bool:
    if len(row_groups) != 1:
        return False
    count, length = row_groups[0]
    return shape in ((count, num_heads, length, length), (1, num_heads, length, length))


def exact_on_cpu(head_dim: int, dtype: DTypeLike) -> bool:
    """Whether programs are traced for a CPU whose kernel computes attention: nothing masked, rows are irrelevant."""
    return traced_for() == "cpu" and cpu.unsupported(head_dim, dtype, None) is None

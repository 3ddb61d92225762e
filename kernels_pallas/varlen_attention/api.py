"""The op's typed front: validates shapes, then dispatches on `implementation`."""

from functools import partial
from typing import Literal

import jax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from kernels_pallas.varlen_attention import cpu, reference, xla

# (count, length): so many consecutive rows of so many tokens. No sequence crosses a row.
RowGroup = tuple[int, int]

Implementation = Literal["xla", "cpu", "reference"]


def varlen_attention(
    q: Float[Array, "T N H"],
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
    implementation: Implementation | None = None,
) -> Float[Array, "T N H"]:
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
        implementation: "cpu" is a compiled kernel for x86-64 with AVX-512, "xla" runs everywhere, "reference" is the
            quadratic fp32 oracle for tests; None: the kernel on CPUs wherever it can, else "xla".

    Returns:
        Attention output in q's dtype; scores and softmax are float32.

    Raises:
        ValueError: N is not a multiple of K, the rows do not cover T, a window that is not traced is below 1, a bias
            does not fit the rows, or the implementation is unknown or cannot do this; says why.
    """
    num_tokens, num_heads, _ = q.shape
    if num_heads % k.shape[1]:
        raise ValueError(f"{num_heads} query heads cannot share {k.shape[1]} key/value heads")
    covered = sum(count * length for count, length in row_groups)
    if covered != num_tokens:
        raise ValueError(f"row groups {row_groups} cover {covered} tokens, but there are {num_tokens}")
    if isinstance(window, int) and window < 1:
        raise ValueError(f"window must be at least 1, got {window}: a token sees itself")
    if bias is not None and not _fits(bias.shape, row_groups, num_heads):
        raise ValueError(f"a bias of shape {bias.shape} does not fit {num_heads} heads and row groups {row_groups}")
    options = {"row_groups": row_groups, "scale": scale, "causal": causal, "window": window, "soft_cap": soft_cap}
    run_xla = partial(xla.varlen_attention, **options, bias=bias, key_segment_ids=key_segment_ids)
    reason = cpu.unsupported(q.shape[2], q.dtype, window)
    if reason is None and not (soft_cap is None and bias is None and key_segment_ids is None):
        reason = "scores are capped or have a bias, or some tokens are seen by none"
    match implementation:
        case "xla":
            return run_xla(q, k, v, segment_ids)
        case "reference":
            return reference.varlen_attention(
                q, k, v, segment_ids, **options, bias=bias, key_segment_ids=key_segment_ids
            )
        case "cpu":
            if reason is not None:
                raise ValueError(f"implementation='cpu': {reason}; use 'xla'")
            return cpu.varlen_attention(q, k, v, segment_ids, row_groups, scale, causal, window)
        case None:
            if reason is not None:
                return run_xla(q, k, v, segment_ids)

            def run_cpu(q: jax.Array, k: jax.Array, v: jax.Array, segment_ids: jax.Array) -> jax.Array:
                return cpu.varlen_attention(q, k, v, segment_ids, row_groups, scale, causal, window)

            return jax.lax.platform_dependent(q, k, v, segment_ids, cpu=run_cpu, default=run_xla)
        case _:
            raise ValueError(f"unknown implementation {implementation!r}; choose 'xla', 'cpu' or 'reference'")


def _fits(shape: tuple[int, ...], row_groups: tuple[RowGroup, ...], num_heads: int) -> bool:
    if len(row_groups) != 1:
        return False
    count, length = row_groups[0]
    return shape in ((count, num_heads, length, length), (1, num_heads, length, length))


def exact_on_cpu(head_dim: int, dtype: DTypeLike) -> bool:
    """Whether this process runs on a CPU where the kernel computes attention: nothing masked, rows are irrelevant."""
    return jax.default_backend() == "cpu" and cpu.unsupported(head_dim, dtype, None) is None

"""The op's typed front: validates shapes, then dispatches on `implementation`."""

from typing import Literal

from jaxtyping import Array, Float, Int

from kernels_pallas.varlen_attention import reference, xla

# (count, length): so many consecutive rows of so many tokens. No sequence crosses a row.
RowGroup = tuple[int, int]

Implementation = Literal["xla", "reference"]


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
    implementation: Implementation = "xla",
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
        implementation: "xla" runs everywhere; "reference" is the quadratic fp32 oracle for tests.

    Returns:
        Attention output in q's dtype; scores and softmax are float32.

    Raises:
        ValueError: N is not a multiple of K, the rows do not cover T, a window that is not traced is below 1, or the
            implementation is unknown.
    """
    num_tokens, num_heads, _ = q.shape
    if num_heads % k.shape[1]:
        raise ValueError(f"{num_heads} query heads cannot share {k.shape[1]} key/value heads")
    covered = sum(count * length for count, length in row_groups)
    if covered != num_tokens:
        raise ValueError(f"row groups {row_groups} cover {covered} tokens, but there are {num_tokens}")
    if isinstance(window, int) and window < 1:
        raise ValueError(f"window must be at least 1, got {window}: a token sees itself")
    match implementation:
        case "xla":
            run = xla.varlen_attention
        case "reference":
            run = reference.varlen_attention
        case _:
            raise ValueError(f"unknown implementation {implementation!r}; choose 'xla' or 'reference'")
    return run(q, k, v, segment_ids, row_groups=row_groups, scale=scale, causal=causal, window=window)

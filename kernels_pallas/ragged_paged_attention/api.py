"""The op's typed front: validates shapes, then dispatches on `implementation`."""

from typing import Literal

from jaxtyping import Array, Float, Int

from kernels_pallas.ragged_paged_attention import reference, xla

Implementation = Literal["xla", "reference"]


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
        implementation: "xla" runs everywhere, "reference" is the fp32 oracle for tests; None: the best there is.

    Returns:
        Weighted values; of positions from cu_q_lens[num_seqs] on, finite and meaningless.

    Raises:
        ValueError: shapes that do not fit each other, or an unknown implementation.
    """
    _check(q.shape, kv_pages.shape, cu_q_lens.shape[0] - kv_lens.shape[0])
    if isinstance(window, int) and window < 1:
        raise ValueError(f"window must be at least 1, got {window}: a token sees itself")
    arguments = (q, kv_pages, kv_lens, pages, cu_q_lens, num_seqs)
    match implementation:
        case "reference":
            return reference.ragged_paged_attention(*arguments, scale=scale, window=window, soft_cap=soft_cap)
        case "xla" | None:
            return xla.ragged_paged_attention(*arguments, scale=scale, window=window, soft_cap=soft_cap)
        case _:
            raise ValueError(f"unknown implementation {implementation!r}; choose 'xla' or 'reference'")


def _check(q: tuple[int, ...], kv_pages: tuple[int, ...], ends: int) -> None:
    if kv_pages[2] % 2 or q[1] % (kv_pages[2] // 2):
        raise ValueError(f"{q[1]} query heads do not divide over {kv_pages[2]} keys and values of kv_pages")
    if ends != 1:
        raise ValueError(f"cu_q_lens needs one entry more than kv_lens, got {ends} more")

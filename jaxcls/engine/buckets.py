"""The static shapes that steps come in. No jax here."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Bucket:
    """Static shape of one compiled program: `rows` rows of `row_len` tokens, at most `num_seqs` sequences."""

    rows: int
    row_len: int
    num_seqs: int

    @property
    def num_tokens(self) -> int:
        """T, padding included."""
        return self.rows * self.row_len

    @property
    def cost(self) -> float:
        """Relative time of a step: attention makes a token of a long row dearer (benchmarks/row_cost.py)."""
        return self.num_tokens * (1 + self.row_len / ROW_COST)


@dataclasses.dataclass(frozen=True)
class Ladder:
    """All shapes of one engine.

    Attributes:
        row_lens: the lengths rows come in, ascending; the last holds the longest prompt.
        buckets: the shapes, ascending by tokens.
        max_tokens: T of a full step (a single longer row is allowed).
    """

    row_lens: tuple[int, ...]
    buckets: tuple[Bucket, ...]
    max_tokens: int

    def rows_for(self, num_tokens: int) -> tuple[int, ...]:
        """The row lengths that hold a sequence, shortest first."""
        return tuple(length for length in self.row_lens if length >= num_tokens)

    def full(self, row_len: int) -> Bucket:
        """The bucket of a full step of such rows."""
        return next(b for b in reversed(self.buckets) if b.row_len == row_len)

    def smallest(self, fills: list[int], num_seqs: int) -> Bucket:
        """The cheapest bucket for rows filled so far."""
        return next(
            b for b in self.buckets if b.rows >= len(fills) and b.row_len >= max(fills) and b.num_seqs >= num_seqs
        )


SHORT_ROW = 128
# Single rows below the shortest of full steps, for few prompts at a time.
SINGLE_ROWS = (32, 64, 128, 256)
# Row length at which attention costs as much as everything else.
ROW_COST = 2048


def make_ladder(*, max_len: int, max_tokens: int, max_seqs: int, short_row: int | None = None) -> Ladder:
    """A short ladder: rows of 128, 256, 512 ... up to max_len; full steps, and single rows for few prompts.

    Rows of 128 hold short texts at a fill of 0.97; longer rows fill better where texts are longer.

    Args:
        max_len: longest prompt in tokens.
        max_tokens: tokens of a full step; on CPU about 512, so that activations stay in the L2 cache.
        max_seqs: most sequences in a step.
        short_row: the shortest row of full steps; None: 128, or what max_len needs.
    """
    row_lens = [short_row or min(SHORT_ROW, _round_up(max_len, 16))]
    while row_lens[-1] < max_len:
        row_lens.append(min(row_lens[-1] * 2, _round_up(max_len, SHORT_ROW)))
    shapes = {(1, length) for length in SINGLE_ROWS if length < row_lens[0]}
    for length in row_lens:
        shapes |= {(1, length), (max(1, max_tokens // length), length)}
    buckets = [Bucket(rows, length, min(max_seqs, max(8, rows * length // 8))) for rows, length in shapes]
    buckets.sort(key=lambda b: (b.num_tokens, b.row_len))
    return Ladder(tuple(row_lens), tuple(buckets), max_tokens)


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple

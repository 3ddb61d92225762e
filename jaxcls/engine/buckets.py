"""The static shapes that steps come in. No jax here."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Bucket:
    """Static shape of one compiled program: `rows` rows of `row_len` tokens, at most `num_seqs` sequences.

    Keys and values lie in pages, at most `pages_per_seq` a sequence, unless that is 0.
    """

    rows: int
    row_len: int
    num_seqs: int
    pages_per_seq: int = 0

    @property
    def name(self) -> str:
        """For progress and tables."""
        return f"{self.rows} x {self.row_len}" + (f", {self.pages_per_seq} pages" if self.pages_per_seq else "")

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
        paged: the shapes of steps with pages, ascending; all sequences of one lie in one row.
    """

    row_lens: tuple[int, ...]
    buckets: tuple[Bucket, ...]
    max_tokens: int
    paged: tuple[Bucket, ...] = ()

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

    def smallest_paged(self, num_tokens: int, num_seqs: int, pages_per_seq: int) -> Bucket:
        """The cheapest bucket with pages."""
        return next(
            b
            for b in self.paged
            if b.row_len >= num_tokens and b.num_seqs >= num_seqs and b.pages_per_seq >= pages_per_seq
        )


SHORT_ROW = 128
# Of the tokens of a full step, what a short one with pages has; and tokens whose pages a short table holds.
SHORT_STEP = 1 / 8
SHORT_TABLE = 2048
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


def with_pages(ladder: Ladder, *, pages_per_seq: int, page_size: int, max_seqs: int) -> Ladder:
    """The ladder with its paged shapes: a full and a short step, with tables for any prompt and for short ones."""
    tables = {pages_per_seq, min(pages_per_seq, _round_up(SHORT_TABLE, page_size) // page_size)}
    steps = {ladder.max_tokens, max(16, int(ladder.max_tokens * SHORT_STEP))}
    shapes = sorted((tokens, table) for tokens in steps for table in tables)
    buckets = [Bucket(1, tokens, min(max_seqs, max(8, tokens // 8)), table) for tokens, table in shapes]
    return dataclasses.replace(ladder, paged=tuple(buckets))


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple

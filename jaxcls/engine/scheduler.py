"""Which waiting requests make the next step, and in which rows. No jax here."""

import bisect
import dataclasses

from jaxcls.engine.buckets import Bucket, Ladder
from jaxcls.engine.request import Request, Task

# A step this full is taken without comparing longer rows.
GOOD_FILL = 0.96


@dataclasses.dataclass(frozen=True)
class StepPlan:
    """One step: its shape and the requests of each row, in place order."""

    bucket: Bucket
    rows: tuple[tuple[Request, ...], ...]
    task: Task

    @property
    def requests(self) -> list[Request]:
        """All requests, row by row."""
        return [request for row in self.rows for request in row]


class Scheduler:
    """Waiting requests; best-fit packing into the rows of one bucket at a time.

    The request that comes first (order, then length) is in the next step, so nothing starves; its rows are filled
    with the longest waiting requests that fit, which for equal orders is best-fit decreasing. Of the row lengths that
    hold it, the one whose step gives most tokens for its cost is taken.
    """

    def __init__(self, ladder: Ladder):
        self._ladder = ladder
        self._by_task: dict[Task, _Waiting] = {}

    def __len__(self) -> int:
        return sum(len(waiting) for waiting in self._by_task.values())

    def add(self, request: Request) -> None:
        """Queues a request; its prompt must fit the ladder's longest row."""
        self._by_task.setdefault(request.task, _Waiting()).add(request)

    def remove(self, request: Request) -> None:
        """Takes a request out of the queue, if it is there."""
        waiting = self._by_task.get(request.task)
        if waiting is not None:
            waiting.discard(request)

    def next_step(self) -> StepPlan | None:
        """Takes the next step's requests out of the queue; None if nothing waits."""
        busy: list[Task] = [task for task, waiting in self._by_task.items() if len(waiting)]
        if not busy:
            return None
        task = min(busy, key=lambda task: self._by_task[task].first_key())
        waiting = self._by_task[task]
        first = waiting.pop_first()
        bucket, rows = self._plan(first, waiting.lengths)
        for row in rows:
            for request in row:
                if request is not first:
                    waiting.discard(request)
        return StepPlan(bucket, tuple(tuple(row) for row in rows), task)

    def _plan(self, first: Request, lengths: list[Request]) -> tuple[Bucket, list[list[Request]]]:
        """The rows that give most tokens for their cost; short rows that are well filled need no comparison."""
        best: tuple[float, Bucket, list[list[Request]]] | None = None
        for row_len in self._ladder.rows_for(first.num_tokens):
            rows = _fill(first, lengths.copy(), self._ladder.full(row_len))
            fills = [sum(request.num_tokens for request in row) for row in rows]
            bucket = self._ladder.smallest(fills, sum(map(len, rows)))
            value = sum(fills) / bucket.cost
            if best is None or value > best[0]:
                best = value, bucket, rows
            if sum(fills) >= GOOD_FILL * bucket.num_tokens:
                break
        assert best is not None, "the ladder's longest row holds every request"
        return best[1:]


def _fill(first: Request, lengths: list[Request], bucket: Bucket) -> list[list[Request]]:
    """Rows of `first` and of the longest requests that fit, which are taken out of `lengths`."""
    rows: list[list[Request]] = []
    seats = bucket.num_seqs - 1
    for index in range(bucket.rows):
        row = [first] if index == 0 else []
        room = bucket.row_len - sum(request.num_tokens for request in row)
        while room and seats:
            at = bisect.bisect_right(lengths, room, key=lambda request: request.num_tokens)
            if at == 0:
                break
            row.append(lengths.pop(at - 1))
            room -= row[-1].num_tokens
            seats -= 1
        if not row:
            break
        rows.append(row)
    return rows


class _Waiting:
    """Requests of one task under two orders: who is first, and by length, the earliest of equals last."""

    def __init__(self) -> None:
        self._first: list[Request] = []
        self.lengths: list[Request] = []

    def __len__(self) -> int:
        return len(self._first)

    def add(self, request: Request) -> None:
        bisect.insort(self._first, request, key=_first_key)
        bisect.insort(self.lengths, request, key=_length_key)

    def first_key(self) -> tuple[int, int, int]:
        return _first_key(self._first[0])

    def pop_first(self) -> Request:
        request = self._first[0]
        self.discard(request)
        return request

    def discard(self, request: Request) -> None:
        for entries, key in ((self._first, _first_key), (self.lengths, _length_key)):
            at = bisect.bisect_left(entries, key(request), key=key)
            while at < len(entries) and entries[at] is not request and key(entries[at]) == key(request):
                at += 1
            if at < len(entries) and entries[at] is request:
                del entries[at]


def _first_key(request: Request) -> tuple[int, int, int]:
    return request.order, -request.num_tokens, request.index


def _length_key(request: Request) -> tuple[int, int, int]:
    return request.num_tokens, -request.order, -request.index

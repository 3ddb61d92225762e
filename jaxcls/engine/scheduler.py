"""Which waiting requests make the next step, and in which rows. No jax here."""

import bisect
import dataclasses
import itertools
import time

from jaxcls.engine.buckets import Bucket, Ladder
from jaxcls.engine.paged_queue import PagedQueue
from jaxcls.engine.prefix import Chunk, PrefixPlanner
from jaxcls.engine.request import Order, Request, Task

# A step this full is taken without comparing longer rows.
GOOD_FILL = 0.96


@dataclasses.dataclass(frozen=True)
class StepPlan:
    """One step: its shape and what is computed in each row, in place order; `planned` when, of `time.perf_counter`."""

    bucket: Bucket
    rows: tuple[tuple[Chunk, ...], ...]
    task: Task
    planned: float = dataclasses.field(default_factory=time.perf_counter, compare=False)

    @property
    def chunks(self) -> list[Chunk]:
        """All chunks, row by row."""
        return list(itertools.chain.from_iterable(self.rows))

    @property
    def requests(self) -> list[Request]:
        """All requests, row by row."""
        return [chunk.request for chunk in self.chunks]

    @property
    def paged(self) -> bool:
        """Whether keys and values lie in pages."""
        return self.bucket.pages_per_seq > 0


class Scheduler:
    """Waiting requests; best-fit packing into the rows of one bucket at a time.

    The request that comes first (order, then length) is in the next step, so nothing starves; its rows are filled
    with the longest waiting requests that fit, which for equal orders is best-fit decreasing. Of the row lengths that
    hold it, the one whose step gives most tokens for its cost is taken.

    Requests that are worth pages (`planner`) wait in a queue of their own, and run in steps of their own.
    """

    def __init__(self, ladder: Ladder, planner: PrefixPlanner | None = None):
        self._ladder, self._planner = ladder, planner
        self._by_task: dict[Task, _Waiting] = {}
        self._paged: dict[Task, PagedQueue] = {}
        # Of prefixes that one waiting request has: that one, which wants pages too as soon as there is another.
        self._only: dict[bytes, Request] = {}

    def __len__(self) -> int:
        return sum(len(waiting) for waiting in (*self._by_task.values(), *self._paged.values()))

    def add(self, request: Request) -> None:
        """Queues a request; its prompt must fit the ladder's longest row."""
        if self._planner is not None and request.pageable:
            self._planner.note(request)
            others = {self._only.setdefault(page_hash, request) for page_hash in request.page_hashes} - {request}
            for other in others:
                if self._planner.is_worth_pages(other) and self._by_task[other.task].discard(other):
                    self._forget(other)
                    self._enqueue(self._planner, other)
            if self._planner.is_worth_pages(request):
                self._forget(request)
                self._enqueue(self._planner, request)
                return
        self._by_task.setdefault(request.task, _Waiting()).add(request)

    def remove(self, request: Request) -> None:
        """Takes a request out of the queue, if it is there."""
        waiting = self._by_task.get(request.task)
        if waiting is not None and waiting.discard(request):
            self._forget(request)
        elif request.task in self._paged:
            self._paged[request.task].discard(request)

    def next_step(self) -> StepPlan | None:
        """Takes the next step's requests out of the queue; None if nothing waits, or nothing can run for lack of pages.

        Whoever has a planner holds its allocator's lock until the step is dispatched.
        """
        whole: list[Task] = [task for task, waiting in self._by_task.items() if len(waiting)]
        paged: list[Task] = [task for task, waiting in self._paged.items() if len(waiting)]
        task = min(whole, key=lambda task: self._by_task[task].first_key(), default=None)
        for other in sorted(paged, key=lambda task: self._paged[task].first_order()):
            if task is None or self._paged[other].first_order() <= self._by_task[task].first_key()[0]:
                plan = self._paged_step(other)
                if plan is not None:
                    return plan
        return None if task is None else self._whole_step(task)

    def close(self) -> None:
        """Gives back all pages."""
        for queue in self._paged.values():
            queue.close()

    def _enqueue(self, planner: PrefixPlanner, request: Request) -> None:
        self._paged.setdefault(request.task, PagedQueue(planner)).add(request)

    def _forget(self, request: Request) -> None:
        for page_hash in request.page_hashes:
            if self._only.get(page_hash) is request:
                del self._only[page_hash]

    def _paged_step(self, task: Task) -> StepPlan | None:
        full = self._ladder.paged[-1]
        chunks = self._paged[task].take(full.num_tokens, full.num_seqs)
        if not chunks:
            return None
        tokens, table = sum(chunk.num_tokens for chunk in chunks), max(len(chunk.pages) for chunk in chunks)
        return StepPlan(self._ladder.smallest_paged(tokens, len(chunks), table), (tuple(chunks),), task)

    def _whole_step(self, task: Task) -> StepPlan:
        waiting = self._by_task[task]
        first = waiting.pop_first()
        bucket, rows = self._plan(first, waiting.lengths)
        for row in rows:
            for request in row:
                if request is not first:
                    waiting.discard(request)
                self._forget(request)
        return StepPlan(bucket, tuple(tuple(Chunk(one, 0, one.num_tokens) for one in row) for row in rows), task)

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

    def first_key(self) -> tuple[Order, int, int]:
        return _first_key(self._first[0])

    def pop_first(self) -> Request:
        request = self._first[0]
        self.discard(request)
        return request

    def discard(self, request: Request) -> bool:
        """Takes a request out; whether it was there."""
        found = False
        for entries, key in ((self._first, _first_key), (self.lengths, _length_key)):
            at = bisect.bisect_left(entries, key(request), key=key)
            while at < len(entries) and entries[at] is not request and key(entries[at]) == key(request):
                at += 1
            if at < len(entries) and entries[at] is request:
                del entries[at]
                found = True
        return found


def _first_key(request: Request) -> tuple[Order, int, int]:
    return request.order, -request.num_tokens, request.index


def _length_key(request: Request) -> tuple[int, int, int, int]:
    priority, arrival = request.order
    return request.num_tokens, -priority, -arrival, -request.index

"""Which waiting requests make the next step, and in which rows. No jax here."""

import bisect
import dataclasses
import itertools
import time

from jaxcls.engine.buckets import Bucket, Ladder
from jaxcls.engine.paged_queue import LOOKAHEAD, PagedQueue
from jaxcls.engine.prefix import Chunk, PrefixPlanner
from jaxcls.engine.request import Order, Request, Task

# A step this full is taken without comparing longer rows, and a row without looking further for what fits.
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

    The request that comes first (order, then length) is in the next step, so nothing starves; its rows are filled in
    that order with what fits, which for equal orders is best-fit decreasing. Of the row lengths that hold it, the one
    whose step gives most tokens for its cost is taken.

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
        task = min(whole, key=lambda task: _first_key(self._by_task[task].first), default=None)
        for other in sorted(paged, key=lambda task: self._paged[task].first_order()):
            if task is None or self._paged[other].first_order() <= self._by_task[task].first.order:
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
        bucket, rows = self._plan(waiting)
        for request in itertools.chain.from_iterable(rows):
            waiting.discard(request)
            self._forget(request)
        return StepPlan(bucket, tuple(tuple(Chunk(one, 0, one.num_tokens) for one in row) for row in rows), task)

    def _plan(self, waiting: "_Waiting") -> tuple[Bucket, list[list[Request]]]:
        """The rows that give most tokens for their cost; short rows that are well filled need no comparison."""
        best: tuple[float, Bucket, list[list[Request]]] | None = None
        for row_len in self._ladder.rows_for(waiting.first.num_tokens):
            rows = _fill(waiting.groups(), self._ladder.full(row_len))
            fills = [sum(request.num_tokens for request in row) for row in rows]
            bucket = self._ladder.smallest(fills, sum(map(len, rows)))
            value = sum(fills) / bucket.cost
            if best is None or value > best[0]:
                best = value, bucket, rows
            if sum(fills) >= GOOD_FILL * bucket.num_tokens:
                break
        assert best is not None, "the ladder's longest row holds every request"
        return best[1:]


def _fill(groups: list[list[Request]], bucket: Bucket) -> list[list[Request]]:
    """Rows of the first request and of those that fit behind it, group by group; they are taken out of the groups."""
    rows: list[list[Request]] = []
    seats = bucket.num_seqs
    while len(rows) < bucket.rows:
        row: list[Request] = []
        room = bucket.row_len
        for group in groups:
            while seats and (at := bisect.bisect_right(group, room, key=_num_tokens)):
                row.append(group.pop(at - 1))
                room -= row[-1].num_tokens
                seats -= 1
            if not seats or room <= (1 - GOOD_FILL) * bucket.row_len:
                break
        if not row:
            break
        rows.append(row)
        groups = [group for group in groups if group]
    return rows


class _Waiting:
    """Requests of one task: groups of equal order, each by length, of equals the one that came first last."""

    def __init__(self) -> None:
        self._groups: dict[Order, list[Request]] = {}
        self._orders: list[Order] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def first(self) -> Request:
        """The request that runs next; there must be one."""
        return self._groups[self._orders[0]][-1]

    def groups(self) -> list[list[Request]]:
        """The first groups, in their order, to be changed."""
        return [self._groups[order].copy() for order in self._orders[:LOOKAHEAD]]

    def add(self, request: Request) -> None:
        """Takes a request in."""
        if request.order not in self._groups:
            self._groups[request.order] = []
            bisect.insort(self._orders, request.order)
        bisect.insort(self._groups[request.order], request, key=_length_key)
        self._count += 1

    def discard(self, request: Request) -> bool:
        """Takes a request out; whether it was there."""
        group = self._groups.get(request.order, [])
        at = bisect.bisect_left(group, _length_key(request), key=_length_key)
        while at < len(group) and group[at] is not request and _length_key(group[at]) == _length_key(request):
            at += 1
        if at == len(group) or group[at] is not request:
            return False
        del group[at]
        self._count -= 1
        if not group:
            del self._groups[request.order]
            del self._orders[bisect.bisect_left(self._orders, request.order)]
        return True


def _first_key(request: Request) -> tuple[Order, int, int]:
    return request.order, -request.num_tokens, request.index


def _length_key(request: Request) -> tuple[int, int]:
    return request.num_tokens, -request.index


def _num_tokens(request: Request) -> int:
    return request.num_tokens

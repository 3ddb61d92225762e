"""The thread that drives an engine for many callers: continuous batching, a bounded queue, cancelling."""

import dataclasses
import itertools
import math
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

from jaxcls.engine.request import Finished, Order, Request
from jaxcls.engine.setup import Model
from jaxcls.errors import JaxclsError, QueueFullError

# A lone request waits for company as long as this many usual gaps between arrivals.
_PATIENCE = 3.0
# How much the latest gap, or step, counts in the averages.
_LATEST = 0.2
# Steps that fail one after the other before the engine is taken for broken.
_FAILURES = 3

Result: TypeAlias = list[Finished] | Exception


@dataclasses.dataclass(eq=False)
class Job:
    """Requests that were submitted together.

    Attributes:
        requests: in their order.
        deliver: takes what became of them, on the engine's thread, once.
        submitted: when, of `time.perf_counter`.
        rows: those that have come.
    """

    requests: Sequence[Request]
    deliver: Callable[[Result], None]
    submitted: float = dataclasses.field(default_factory=time.perf_counter)
    rows: dict[Order, Finished] = dataclasses.field(default_factory=dict)

    def add(self, finished: Finished) -> bool:
        """Keeps a request's rows; says whether they were the last."""
        self.rows[finished.request.order] = finished
        return len(self.rows) == len(self.requests)


@dataclasses.dataclass(frozen=True)
class _Cancel:
    job: Job


@dataclasses.dataclass(frozen=True)
class _StepDone:
    """There are rows to be fetched."""


_Message: TypeAlias = Job | _Cancel | _StepDone | None


class EngineLoop:
    """Steps of all callers' requests, the oldest first; every job is answered once, whatever happens.

    A stream that is idle takes what waits; while all run, what arrives is collected for the next step. When nothing
    runs, the first to come waits for others only if they are expected sooner than `max_wait`, and a step is not full.

    Args:
        model: what the engine runs.
        max_queue: most items that are admitted and not answered; None: no limit.
        max_wait: seconds a request may wait for company while nothing runs.
    """

    def __init__(self, model: Model, *, max_queue: int | None = None, max_wait: float = 0.002):
        self._engine = model.engine()
        self._full = model.ladder.max_tokens
        self._max_queue, self._max_wait = max_queue, max_wait
        self._inbox: queue.SimpleQueue[_Message] = queue.SimpleQueue()
        self._orders = itertools.count()
        self._pending: dict[Order, Job] = {}
        self._tokens = 0  # of what is pending
        self._gap = math.inf
        self._last_arrival = -math.inf
        self._seconds_per_item = 0.0
        self._failures = 0
        self._items = 0
        self._closed = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="jaxcls-engine", daemon=True)
        self._thread.start()

    @property
    def items(self) -> int:
        """Items admitted and not answered."""
        return self._items

    @property
    def pending(self) -> int:
        """Requests that wait or run, tokenised."""
        return len(self._pending)

    @property
    def healthy(self) -> bool:
        """Whether it takes requests, and the last steps did not all fail."""
        return self._thread.is_alive() and not self._closed and self._failures < _FAILURES

    @contextmanager
    def admitted(self, count: int) -> Iterator[None]:
        """Room for `count` items, until they are answered.

        Raises:
            QueueFullError: there is none.
        """
        with self._lock:
            limit = self._max_queue
            if limit is not None and self._items + count > limit:
                seconds = max(1, math.ceil(self._items * self._seconds_per_item))
                raise QueueFullError(
                    f"{self._items} items wait or run, and at most {limit} may: {count} more are refused. Try again in "
                    f"{seconds} s",
                    retry_after=seconds,
                )
            self._items += count
        started = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self._seconds_per_item += _LATEST * (
                    (time.perf_counter() - started) / max(1, self._items) - self._seconds_per_item
                )
                self._items -= count

    def submit(self, requests: Sequence[Request], deliver: Callable[[Result], None]) -> Job:
        """Queues requests, one at least, behind those before them.

        Raises:
            JaxclsError: it is closed.
        """
        with self._lock:
            if self._closed:
                raise JaxclsError("this AsyncLLM is closed")
            job = Job([request.ordered((request.order[0], next(self._orders))) for request in requests], deliver)
            self._inbox.put(job)
        return job

    def cancel(self, job: Job) -> None:
        """Drops what of a job has not run, before the next step; it is not answered any more."""
        self._inbox.put(_Cancel(job))

    def close(self) -> None:
        """Stops the thread; jobs that wait are answered with an error."""
        with self._lock:
            self._closed = True
        self._inbox.put(None)
        self._thread.join()

    def _run(self) -> None:
        error: Exception = JaxclsError("this AsyncLLM was closed")
        try:
            while self._receive():
                self._step()
        except Exception as bug:  # callers would wait for ever
            error = bug
        with self._lock:
            self._closed = True
        self._take_all()
        for job in set(self._pending.values()):
            job.deliver(error)
        self._pending.clear()

    def _step(self) -> None:
        try:
            finished = self._engine.advance(lambda: self._inbox.put(_StepDone()))
            self._failures = 0 if finished else self._failures
        except Exception as error:  # a failing step fails its callers, not the thread
            self._failures += 1
            failed = self._engine.abandon()
            orders = list(self._pending) if failed is None else [request.order for request in failed]
            for job in {self._pending[order] for order in orders if order in self._pending}:
                self._drop(job)
                job.deliver(error)
            return
        for one in finished:
            job = self._pending.pop(one.request.order, None)
            if job is not None:
                self._tokens -= one.request.num_tokens
                if job.add(one):
                    job.deliver([job.rows[request.order] for request in job.requests])

    def _receive(self) -> bool:
        """Moves what has arrived into the engine; waits when there is nothing to do, or for company. False: closed."""
        try:
            if (wait := self._engine.patience) != 0 and not self._take(self._inbox.get(timeout=wait)):
                return False
        except queue.Empty:  # pages may have come back
            pass
        if not self._take_all():
            return False
        since = time.perf_counter()
        while (patience := self._patience(since)) > 0:
            try:
                if not self._take(self._inbox.get(timeout=patience)):
                    return False
            except queue.Empty:
                break
        return True

    def _patience(self, since: float) -> float:
        """Seconds to wait for one more, after waiting since `since`."""
        if self._engine.running or not self._pending or self._tokens >= self._full or self._gap >= self._max_wait:
            return 0.0
        return min(since + self._max_wait - time.perf_counter(), _PATIENCE * self._gap)

    def _take_all(self) -> bool:
        while True:
            try:
                if not self._take(self._inbox.get_nowait()):
                    return False
            except queue.Empty:
                return True

    def _take(self, message: _Message) -> bool:
        match message:
            case Job() as job:
                self._note_arrival(job.submitted)
                for request in job.requests:
                    self._pending[request.order] = job
                    self._tokens += request.num_tokens
                    self._engine.add(request)
            case _Cancel(job):
                self._drop(job)
            case _StepDone():
                pass
            case None:
                return False
        return True

    def _drop(self, job: Job) -> None:
        for request in job.requests:
            if self._pending.pop(request.order, None) is not None:
                self._tokens -= request.num_tokens
                self._engine.cancel(request)

    def _note_arrival(self, at: float) -> None:
        gap = min(at - self._last_arrival, 1.0)
        self._gap = gap if self._gap == math.inf else self._gap + _LATEST * (gap - self._gap)
        self._last_arrival = at

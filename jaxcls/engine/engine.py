"""Requests in, finished rows out; one step is planned and built while the device runs another."""

import collections
from collections.abc import Iterator
from concurrent.futures import Future

import numpy as np

from jaxcls.engine.batch import build_batch, empty_batch
from jaxcls.engine.buckets import Ladder
from jaxcls.engine.request import TOKEN_TASKS, Finished, Request, Task
from jaxcls.engine.runner import ModelRunner
from jaxcls.engine.scheduler import Scheduler, StepPlan
from jaxcls.engine.stats import Stats
from jaxcls.errors import NonFiniteError
from jaxcls.pooling.activation import LEAST_LENGTH
from jaxcls.pooling.pooler import PoolerOutput


class Engine:
    """A synchronous state machine: `add` requests, then `step` until it is idle. Not thread-safe."""

    def __init__(self, runner: ModelRunner, ladder: Ladder, stats: Stats):
        self.ladder = ladder
        self.stats = stats
        self._runner = runner
        self._scheduler = Scheduler(ladder)
        # Steps handed over before the oldest is waited for: every stream runs one, one more waits.
        self._max_in_flight = runner.streams + 1
        self._in_flight: collections.deque[tuple[StepPlan, Future[PoolerOutput]]] = collections.deque()

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing runs."""
        return not self._in_flight and not len(self._scheduler)

    def add(self, request: Request) -> None:
        """Queues a validated request."""
        self._scheduler.add(request)

    def cancel(self, request: Request) -> None:
        """Drops a request that still waits; one that runs or is unknown is left alone."""
        self._scheduler.remove(request)

    def step(self) -> list[Finished]:
        """Dispatches the next step if any, then fetches the oldest one that has enough behind it."""
        plan = self._scheduler.next_step()
        if plan is not None:
            alone = not self._in_flight and not len(self._scheduler)
            self._in_flight.append((plan, self._runner.run(build_batch(plan), plan.task, alone=alone)))
            self._count(plan)
        if self._in_flight and (plan is None or len(self._in_flight) > self._max_in_flight):
            finished, output = self._in_flight.popleft()
            return _finish(finished, output.result())
        return []

    def drain(self) -> Iterator[Finished]:
        """Runs until idle, yielding rows as they come."""
        while not self.idle:
            yield from self.step()

    def dispatch(self) -> Iterator[Finished]:
        """Dispatches everything that waits; steps may still be running afterwards."""
        while len(self._scheduler):
            yield from self.step()

    def abort(self) -> None:
        """Forgets everything that waits or runs."""
        self._scheduler = Scheduler(self.ladder)
        self._in_flight.clear()

    def warmup(self, task: Task = "classify") -> Iterator[str]:
        """Compiles every bucket, yielding a name for each."""
        for bucket in self.ladder.buckets:
            output = self._runner.run(empty_batch(bucket), task).result()
            output.probs.block_until_ready()
            yield f"{bucket.rows} x {bucket.row_len}"

    def _count(self, plan: StepPlan) -> None:
        self.stats.steps += 1
        self.stats.prompts += len(plan.requests)
        self.stats.tokens_given += sum(request.num_tokens for request in plan.requests)
        self.stats.tokens_computed += plan.bucket.num_tokens


def _finish(plan: StepPlan, output: PoolerOutput) -> list[Finished]:
    probs, logits = np.asarray(output.probs), np.asarray(output.logits)
    finite = np.logical_and.reduce(np.isfinite(probs) & np.isfinite(logits), axis=1)
    finished = []
    segment = 0
    for row_index, row in enumerate(plan.rows):
        start = row_index * plan.bucket.row_len
        for request in row:
            rows = slice(start, start + request.num_tokens) if plan.task in TOKEN_TASKS else segment
            error = None if finite[rows].all() else _not_finite(request, logits[rows])
            finished.append(Finished(request, *_leading(request, probs[rows], logits[rows]), error))
            start += request.num_tokens
            segment += 1
    return finished


def _leading(request: Request, probs: np.ndarray, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The dimensions of an embedding that the request asks for, as they are and, where it wants that, of length 1."""
    if request.dimensions is None:
        return probs, logits
    kept = logits[..., : request.dimensions]
    if not request.use_activation:
        return kept, kept
    return kept / np.maximum(np.linalg.norm(kept, axis=-1, keepdims=True), LEAST_LENGTH), kept


def _not_finite(request: Request, logits: np.ndarray) -> NonFiniteError:
    message = (
        f"the model gave {logits.ravel()[:4].tolist()} for these {request.num_tokens} tokens; "
        "NaN or infinity usually means overflow: load the model with dtype='float32'"
    )
    return NonFiniteError(message, index=request.index)

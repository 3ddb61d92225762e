"""Requests in, finished rows out; one step is planned and built while the device runs another."""

import collections
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import nullcontext
from typing import Any

import numpy as np

from jaxcls.engine.batch import build_batch, empty_batch
from jaxcls.engine.buckets import Ladder
from jaxcls.engine.prefix import PrefixPlanner
from jaxcls.engine.request import TOKEN_TASKS, Finished, Request, Task
from jaxcls.engine.runner import ModelRunner
from jaxcls.engine.scheduler import Scheduler, StepPlan
from jaxcls.engine.stats import Stats
from jaxcls.errors import NonFiniteError
from jaxcls.pooling.activation import LEAST_LENGTH
from jaxcls.pooling.pooler import PoolerOutput

# Seconds to wait for pages before looking again.
_PATIENCE = 0.05


class Engine:
    """A synchronous state machine: `add` requests, then `step` until it is idle. Not thread-safe."""

    def __init__(self, runner: ModelRunner, ladder: Ladder, stats: Stats, planner: PrefixPlanner | None = None):
        self.ladder = ladder
        self.stats = stats
        self._runner = runner
        self._planner = planner
        self._scheduler = Scheduler(ladder, planner)
        # What is there of requests that are computed in parts and whose tokens each have a row.
        self._parts: dict[Request, list[Finished]] = {}
        self._in_flight: collections.deque[tuple[StepPlan, Future[PoolerOutput]]] = collections.deque()
        self._handled: StepPlan | None = None
        # Whether what waits cannot run for lack of pages.
        self._starved = False

    @property
    def running(self) -> int:
        """How many steps run, or wait for their turn on the device."""
        return sum(not future.done() for _, future in self._in_flight)

    @property
    def patience(self) -> float | None:
        """Seconds until `advance` is worth a call. 0: now. None: when a step is done, or a request is added.

        Pages come back without notice, from other engines of this model.
        """
        if self.running < len(self._in_flight):
            return 0.0
        if not len(self._scheduler) or self.running >= self._runner.streams:
            return None
        return _PATIENCE if self._starved else 0.0

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing runs."""
        return not self._in_flight and not len(self._scheduler)

    def add(self, request: Request) -> None:
        """Queues a validated request."""
        with self._planning():
            self._scheduler.add(request)

    def cancel(self, request: Request) -> None:
        """Drops a request that still waits; one that runs or is unknown is left alone."""
        with self._planning():
            self._scheduler.remove(request)
        self._parts.pop(request, None)

    def step(self) -> list[Finished]:
        """Dispatches the next step if any, then waits for the oldest that has enough behind it."""
        plan = self._dispatch(alone=not self._in_flight)
        # Every stream runs one, one more waits.
        if self._in_flight and (plan is None or len(self._in_flight) > self._runner.streams + 1):
            return self._collect(*self._in_flight.popleft())
        if self._starved and self._planner is not None:
            # All pages are held by other engines of this model.
            with self._planning() as released:
                released.wait(_PATIENCE)
        return []

    def advance(self, notify: Callable[[], object]) -> list[Finished]:
        """Waits for nothing: gives every idle stream a step, and the rows of the first step that is done.

        Args:
            notify: called, on any thread, when one of these steps is done.
        """
        while self.running < self._runner.streams and self._dispatch(alone=False) is not None:
            self._in_flight[-1][1].add_done_callback(lambda _: notify())
        done = next((place for place, (_, future) in enumerate(self._in_flight) if future.done()), None)
        if done is None:
            return []
        plan, future = self._in_flight[done]
        del self._in_flight[done]
        return self._collect(plan, future)

    def _collect(self, plan: StepPlan, future: Future[PoolerOutput]) -> list[Finished]:
        self._handled = plan
        try:
            return self._finish(plan, future.result())
        finally:
            self._check_pages()

    def _dispatch(self, *, alone: bool) -> StepPlan | None:
        """Plans a step and starts it; pages are used in the order in which steps are planned.

        Args:
            alone: no other step runs, or will before this one's rows are waited for, unless more requests wait.
        """
        self._check_pages()
        self._handled = None
        with self._planning():
            plan = self._handled = self._scheduler.next_step()
            self._starved = plan is None and len(self._scheduler) > 0
            if plan is None:
                return None
            try:
                page_size = generation = 0
                if self._planner is not None and plan.paged:
                    page_size = self._planner.allocator.page_size
                    generation = self._planner.allocator.generation
                alone = alone and not len(self._scheduler)
                batch = build_batch(plan, page_size)
                self._in_flight.append((plan, self._runner.run(batch, plan.task, alone=alone, generation=generation)))
            except BaseException:
                if plan.paged:
                    self._runner.lose_pages()
                    self._check_pages()
                raise
        self._count(plan)
        return plan

    def _planning(self) -> Any:
        return nullcontext() if self._planner is None else self._planner.allocator.lock

    def _check_pages(self) -> None:
        """Forgets all pages if a step has failed that was to fill some."""
        if self._planner is not None:
            with self._planning():
                self._planner.allocator.reset(self._runner.pages_generation)

    def drain(self) -> Iterator[Finished]:
        """Runs until idle, yielding rows as they come."""
        while not self.idle:
            yield from self.step()

    def dispatch(self) -> Iterator[Finished]:
        """Dispatches everything that waits; steps may still be running afterwards."""
        while len(self._scheduler):
            yield from self.step()

    def abandon(self) -> list[Request] | None:
        """After `step` has raised: gives up the requests that cannot go on, and says which; None: all there were.

        Those of the step that failed. Steps that were to read its pages fail in their turn, and what waits is planned
        without them. Where no step is to blame, nothing is known of any.
        """
        failed = None if self._handled is None else self._handled.requests
        if failed is None:
            self.close()
            self._scheduler = Scheduler(self.ladder, self._planner)
            self._in_flight.clear()
            self._parts.clear()
        for request in failed or ():
            self.cancel(request)
        return failed

    def close(self) -> None:
        """Gives back what requests that will not go on hold of the pool."""
        with self._planning():
            self._scheduler.close()

    def warmup(self, task: Task = "classify") -> Iterator[str]:
        """Compiles every bucket, yielding a name for each."""
        for bucket in (*self.ladder.buckets, *self.ladder.paged):
            generation = self._runner.pages_generation
            output = self._runner.run(empty_batch(bucket), task, generation=generation).result()
            output.probs.block_until_ready()
            yield bucket.name

    def _count(self, plan: StepPlan) -> None:
        self.stats.steps += 1
        self.stats.prompts += sum(chunk.is_last for chunk in plan.chunks)
        given = sum(chunk.num_tokens for chunk in plan.chunks)
        self.stats.tokens_given += given
        self.stats.step_sizes[given.bit_length()] += 1
        self.stats.tokens_reused += sum(chunk.num_cached for chunk in plan.chunks if chunk.is_last)
        self.stats.tokens_computed += plan.bucket.num_tokens

    def _finish(self, plan: StepPlan, output: PoolerOutput) -> list[Finished]:
        probs, logits = np.asarray(output.probs), np.asarray(output.logits)
        finite = np.logical_and.reduce(np.isfinite(probs) & np.isfinite(logits), axis=1)
        of_tokens = plan.task in TOKEN_TASKS
        finished = []
        done = time.perf_counter()
        segment = 0
        for row_index, row in enumerate(plan.rows):
            start = row_index * plan.bucket.row_len
            for chunk in row:
                rows = slice(start, start + chunk.num_tokens) if of_tokens else segment
                request = chunk.request
                error = None if finite[rows].all() else _not_finite(request, logits[rows])
                leading = _leading(request, probs[rows], logits[rows])
                one = Finished(request, *leading, error, chunk.num_cached, plan.planned, done)
                # One that begins anew, because its pages were lost, is computed whole again.
                parts = [] if chunk.start == chunk.num_cached else self._parts.pop(request, [])
                if chunk.is_last:
                    finished.append(_joined([*parts, one]))
                elif of_tokens:
                    self._parts[request] = [*parts, one]
                start += chunk.num_tokens
                segment += 1
        return finished


def _joined(parts: Sequence[Finished]) -> Finished:
    """The rows of a request that was computed in parts."""
    if len(parts) == 1:
        return parts[0]
    error = next((part.error for part in parts if part.error is not None), None)
    probs, logits = (np.concatenate([getattr(part, name) for part in parts]) for name in ("probs", "logits"))
    return dataclasses.replace(parts[-1], probs=probs, logits=logits, error=error, planned=parts[0].planned)


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

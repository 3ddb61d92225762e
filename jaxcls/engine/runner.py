"""The compiled step: weights and a packed batch in, scores out."""

import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
from flax import nnx

from jaxcls.engine.request import Task
from jaxcls.engine.stats import Stats
from jaxcls.layers.packed import PackedBatch
from jaxcls.pooling.pooler import Pooler, PoolerOutput


class ModelRunner:
    """Runs steps of one model, without waiting for them.

    Attributes:
        graphdef: the model's static half; `nnx.merge(graphdef, state)` is the module.
        state: the model's parameters, an nnx State.
        streams: steps that run at the same time. An accelerator runs one, and takes the next before that is done.
            A CPU runs two, each from a thread of its own: one computes while the other's cores would wait for each
            other at the end of an operation.
    """

    def __init__(self, graphdef: Any, state: Any, poolers: Mapping[Task, Pooler], stats: Stats):
        self.graphdef = graphdef
        self.state = state
        self.streams = 2 if jax.default_backend() == "cpu" else 1
        self._steps = {task: jax.jit(_step(graphdef, pooler, stats)) for task, pooler in poolers.items()}
        self._pool = ThreadPoolExecutor(self.streams, thread_name_prefix="jaxcls-step")
        self._compiled: set[tuple[Task, Any]] = set()
        self._compiling = threading.Lock()

    def run(self, batch: PackedBatch, task: Task) -> "Future[PoolerOutput]":
        """Starts one step; compiles on the first batch of a shape, which it waits for."""
        key = (task, batch.shape_key())
        with self._compiling:
            if key not in self._compiled:
                result: Future[PoolerOutput] = Future()
                result.set_result(self._steps[task](self.state, batch))
                self._compiled.add(key)
                return result
        return self._pool.submit(self._run, batch, task)

    def _run(self, batch: PackedBatch, task: Task) -> PoolerOutput:
        output = self._steps[task](self.state, batch)
        return jax.block_until_ready(output) if self.streams > 1 else output


def _step(graphdef: Any, pooler: Pooler, stats: Stats) -> Any:
    def step(state: Any, batch: PackedBatch) -> PoolerOutput:
        stats.compiles += 1  # runs while tracing, once a shape
        model = nnx.merge(graphdef, state)
        with jax.named_scope("model"):
            hidden = model(batch)
        with jax.named_scope("pooler"):
            return pooler(hidden, batch, model.head)

    return step

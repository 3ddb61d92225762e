"""The compiled step: weights and a packed batch in, scores out."""

from collections.abc import Mapping
from typing import Any

import jax
from flax import nnx

from jaxcls.engine.request import Task
from jaxcls.engine.stats import Stats
from jaxcls.layers.packed import PackedBatch
from jaxcls.pooling.pooler import Pooler, PoolerOutput


class ModelRunner:
    """Runs steps of one model. Dispatch is asynchronous: `run` returns before the device is done.

    Attributes:
        graphdef: the model's static half; `nnx.merge(graphdef, state)` is the module.
        state: the model's parameters, an nnx State.
    """

    def __init__(self, graphdef: Any, state: Any, poolers: Mapping[Task, Pooler], stats: Stats):
        self.graphdef = graphdef
        self.state = state
        self._steps = {task: jax.jit(_step(graphdef, pooler, stats)) for task, pooler in poolers.items()}

    def run(self, batch: PackedBatch, task: Task) -> PoolerOutput:
        """Dispatches one step; compiles on the first batch of a shape."""
        return self._steps[task](self.state, batch)


def _step(graphdef: Any, pooler: Pooler, stats: Stats) -> Any:
    def step(state: Any, batch: PackedBatch) -> PoolerOutput:
        stats.compiles += 1  # runs while tracing, once a shape
        model = nnx.merge(graphdef, state)
        with jax.named_scope("model"):
            hidden = model(batch)
        with jax.named_scope("pooler"):
            return pooler(hidden, batch, model.head)

    return step

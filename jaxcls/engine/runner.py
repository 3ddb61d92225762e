"""The compiled step: weights and a packed batch in, scores out."""

import dataclasses
import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
from flax import nnx

from jaxcls.engine.device_pages import DevicePages
from jaxcls.engine.load import AbstractModel
from jaxcls.engine.paging import PoolShape
from jaxcls.engine.programs import SavedPrograms
from jaxcls.engine.request import Task
from jaxcls.engine.stats import Stats
from jaxcls.errors import ConfigError
from jaxcls.layers.packed import PackedBatch, PagePool
from jaxcls.pooling.pooler import Pooler, PoolerOutput
from weights.file_table import FileTable

_ALIGNMENT = 64  # bytes; what jax asks of an array on CPU that it does not copy
# XLA's default order on CPU converts the int8 weights of all layers to bfloat16 before the first product, and holds
# them together. This one converts each where it is used, and is as fast in every dtype.
_LEAST_MEMORY: dict[str, Any] = {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"}


class ModelRunner:
    """Compiles and runs steps of one model, without waiting for them.

    Compiling needs the shapes of the weights only, so it may begin before they are there.

    Attributes:
        graphdef: the model's static half; `nnx.merge(graphdef, state)` is the module.
        streams: steps that are on the device at the same time, each from a thread of its own. An accelerator has the
            next one there before the first is done; on a CPU one computes while the other's cores would wait for each
            other at the end of an operation.
    """

    def __init__(
        self,
        model: AbstractModel,
        poolers: Mapping[Task, Pooler],
        stats: Stats,
        pool: PoolShape | None = None,
        saved: SavedPrograms | None = None,
    ):
        self.graphdef = model.graphdef
        self.streams = 2
        self._compiler_options = compiler_options(jax.default_backend())
        self._saved = saved
        self._state: Any = None
        # Programs take the parameters as a list: flattening an nnx State takes Python 0.1 ms a step.
        self._weights: list[Any] = []
        self._table_at: int | None = None  # which of them is a FileTable
        self._weight_specs = model.weight_specs
        structure = jax.tree.structure(model.state)
        self._pages = None if pool is None else DevicePages(pool)
        pages = None if self._pages is None else self._pages.spec
        self._steps = {
            task: make_step(model.graphdef, structure, pooler, pool, pages) for task, pooler in poolers.items()
        }
        self._stats = stats
        self._pool = ThreadPoolExecutor(self.streams, thread_name_prefix="jaxcls-step")
        self._programs: dict[tuple[Task, Any], Future[Any]] = {}
        self._lock = threading.Lock()

    @property
    def state(self) -> Any:
        """The model's parameters, an nnx State; None until they are loaded.

        Raises:
            ConfigError: not all of them are: the token embedding has been left in its file.
        """
        if self._table_at is not None:
            raise ConfigError("the token embedding has been left in its file: load with token_embedding='memory'")
        return self._state

    @state.setter
    def state(self, state: Any) -> None:
        self._state, self._weights = state, jax.tree.leaves(state)
        tables = (at for at, weight in enumerate(self._weights) if isinstance(weight, FileTable))
        self._table_at = next(tables, None)

    def prepare(self, batch: PackedBatch, task: Task) -> None:
        """Begins to compile the program of a batch's shape on a thread; the weights need not be there.

        On CPU it is also run, on zeros that take no memory: the first run of a program takes ten times the second,
        because its matrix products are planned in it.
        """
        self._pool.submit(self._program, batch, task, first_run=jax.default_backend() == "cpu")

    @property
    def pages_generation(self) -> int:
        """How many times the contents of the pages were lost."""
        return 0 if self._pages is None else self._pages.generation

    def lose_pages(self) -> None:
        """A step that was planned will not run: what it was to leave in the pages is not there."""
        if self._pages is not None:
            self._pages.lose()

    def run(
        self, batch: PackedBatch, task: Task, *, alone: bool = False, generation: int = 0
    ) -> "Future[PoolerOutput]":
        """Starts one step; compiles on the first batch of a shape, which it waits for.

        Steps with pages run one after another, in the order of these calls.

        Args:
            batch: what is computed.
            task: what is pooled.
            alone: no other step runs or is about to: it then needs no thread of its own.
            generation: of the pages, when the step was planned.
        """
        program = self._program(batch, task)
        if batch.tables is not None and self._pages is not None:
            pages = self._pages
            return pages.thread.submit(pages.run, lambda array: program(*self._arguments(batch), array), generation)
        if not alone:
            return self._pool.submit(self._run, program, batch)
        result: Future[PoolerOutput] = Future()
        result.set_result(program(*self._arguments(batch), None)[0])
        return result

    def _run(self, program: Any, batch: PackedBatch) -> PoolerOutput:
        output, _ = program(*self._arguments(batch), None)
        return jax.block_until_ready(output)

    def _arguments(self, batch: PackedBatch) -> tuple[list[Any], list[Any]]:
        """What a program takes: the weights, of a table in a file the rows of the batch's tokens, and the batch."""
        arrays = jax.tree.leaves(batch)
        if self._table_at is None:
            return self._weights, arrays
        weights = list(self._weights)
        weights[self._table_at] = weights[self._table_at].rows(np.asarray(batch.input_ids))
        return weights, arrays

    def _program(self, batch: PackedBatch, task: Task, *, first_run: bool = False) -> Any:
        """The compiled program of a batch's shape. Of several threads that want it, one makes it."""
        key = (task, batch.shape_key())
        made: Future[Any] = Future()
        with self._lock:
            found = self._programs.setdefault(key, made)
        if found is not made:
            return found.result()
        try:
            arrays, structure = jax.tree.flatten(batch)
            pages = None if batch.tables is None or self._pages is None else self._pages.spec
            specs = self._weight_specs(len(batch.input_ids))
            program = None if self._saved is None else self._saved.load(task, batch, len(specs))
            if program is None:
                with self._lock:
                    self._stats.compiles += 1
                lowered = self._steps[task].lower(specs, arrays, pages, batch_structure=structure)
                program = lowered.compile(self._compiler_options)
            if first_run:
                jax.block_until_ready(program(_zeros(specs), arrays, None))
        except BaseException as error:
            del self._programs[key]
            made.set_exception(error)
            raise
        made.set_result(program)
        return program


def compiler_options(platform: str) -> dict[str, Any] | None:
    """What the steps of a platform are compiled with."""
    return _LEAST_MEMORY if platform == "cpu" else None


def make_step(
    graphdef: Any, structure: Any, pooler: Pooler, pool: PoolShape | None, pages: jax.ShapeDtypeStruct | None
) -> Any:
    """The jitted step.

    It takes the leaves of the weights, whose tree is `structure`, those of a batch (`batch_structure`), and the pages,
    which are donated, if the batch has tables; it gives rows, and the pages as they lay.
    """

    def step(
        weights: list[jax.Array], arrays: list[jax.Array], held_pages: jax.Array | None, batch_structure: Any
    ) -> tuple[PoolerOutput, jax.Array | None]:
        batch: PackedBatch = jax.tree.unflatten(batch_structure, arrays)
        held = None if held_pages is None or pool is None else PagePool(held_pages, pool.num_layers)
        batch = dataclasses.replace(pooler.pick(batch), pool=held)
        model = nnx.merge(graphdef, jax.tree.unflatten(structure, weights))
        with jax.named_scope("model"):
            hidden = model(batch)
        with jax.named_scope("pooler"):
            return pooler(hidden, batch, model.head), None if held is None else held.pages

    layouts = None if pages is None or pages.format.layout is None else (None, pages.format)
    return jax.jit(step, static_argnames="batch_structure", donate_argnums=2, out_shardings=layouts)


def _zeros(specs: list[jax.ShapeDtypeStruct]) -> list[jax.Array]:
    """Arrays of zeros on a CPU that share one buffer, whose pages are never written and so never given memory."""
    sizes = [int(np.prod(spec.shape, dtype=np.int64)) * spec.dtype.itemsize for spec in specs]
    buffer = np.zeros(max(sizes) + _ALIGNMENT, np.uint8)
    buffer = buffer[-buffer.ctypes.data % _ALIGNMENT :]
    views = [buffer[:size].view(spec.dtype).reshape(spec.shape) for size, spec in zip(sizes, specs, strict=True)]
    return jax.device_put(views)

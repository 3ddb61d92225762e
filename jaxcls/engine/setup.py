"""A loaded model with everything that a front end needs: tokenizer, runner, shapes, labels."""

import dataclasses

import numpy as np
from jaxtyping import Float

from jaxcls.collector import collector_paused
from jaxcls.config.engine import EngineConfig
from jaxcls.engine.batch import empty_batch
from jaxcls.engine.buckets import Ladder
from jaxcls.engine.checkpoint import Checkpoint, open_checkpoint
from jaxcls.engine.converted import load_weights, reads_files
from jaxcls.engine.engine import Engine
from jaxcls.engine.load import abstract_model, check_head, ladder, set_compilation_cache, with_weights
from jaxcls.engine.paging import Paging, open_paging, paged_ladder
from jaxcls.engine.programs import SavedPrograms, describe
from jaxcls.engine.request import Finished, Task
from jaxcls.engine.runner import ModelRunner
from jaxcls.engine.stats import Stats
from jaxcls.engine.tokenizer import open_tokenizer
from jaxcls.inputs.tokenize import TextTokenizer
from jaxcls.pooling.pooler import Pooler
from kernels_pallas.platform import device_kind


@dataclasses.dataclass(frozen=True)
class Model:
    """What `LLM` and `AsyncLLM` share."""

    options: EngineConfig
    checkpoint: Checkpoint
    tokenizer: TextTokenizer
    runner: ModelRunner
    ladder: Ladder
    stats: Stats
    paging: Paging | None = None

    def engine(self) -> Engine:
        """A new engine; all of a model share its programs, its pages and its counters."""
        return Engine(self.runner, self.ladder, self.stats, None if self.paging is None else self.paging.planner)

    def rows(self, finished: Finished, values: Float[np.ndarray, "*rows C"]) -> Float[np.ndarray, "*kept C"]:
        """What of a request's rows is given: of process rewards those where a step ends, else all."""
        tag = self.checkpoint.step_tag_id
        return values if tag is None else values[np.asarray(finished.request.tokens.token_ids) == tag]


@collector_paused()
def load_model(options: EngineConfig, *, shared: bool = False) -> Model:
    """Opens and loads a checkpoint. The smallest program is compiled while the weights are read.

    Args:
        options: what the caller asks for.
        shared: one engine will serve many callers, who each wait for their own.
    """
    checkpoint = open_checkpoint(options)
    set_compilation_cache(options.compilation_cache_dir)
    abstract = abstract_model(checkpoint, options, from_files=reads_files(checkpoint, options))
    shapes, stats = ladder(checkpoint, options, abstract.dtype, shared=shared), Stats()
    paging = open_paging(checkpoint, options, abstract.dtype, shapes)
    shapes = paged_ladder(shapes, paging, options, checkpoint.max_len)
    poolers: dict[Task, Pooler] = {task: checkpoint.pooler(task) for task in checkpoint.tasks}
    pool, saved = None if paging is None else paging.shape, None
    if options.programs_dir is not None:
        saved = SavedPrograms(options.programs_dir, describe(checkpoint, abstract, pool, device_kind()))
    runner = ModelRunner(abstract, poolers, stats, pool, saved)
    runner.prepare(empty_batch(shapes.buckets[0]), checkpoint.tasks[0])
    tokenizer = open_tokenizer(checkpoint, options)
    arrays = load_weights(checkpoint, abstract, options)
    check_head(arrays, options)
    runner.state = with_weights(abstract, arrays)
    return Model(options, checkpoint, tokenizer, runner, shapes, stats, paging)

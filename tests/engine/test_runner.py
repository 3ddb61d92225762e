"""Programs: made once, from shapes alone, by whoever wants them first."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from jaxcls import LLM
from jaxcls.config.engine import engine_config
from jaxcls.engine.batch import empty_batch
from jaxcls.engine.buckets import Bucket
from jaxcls.engine.checkpoint import open_checkpoint
from jaxcls.engine.load import abstract_model
from jaxcls.engine.runner import ModelRunner, make_step
from jaxcls.engine.stats import Stats
from kernels_cpu import library
from tests.tiny import BERT, QWEN3, write_checkpoint


@pytest.fixture
def make_runner(bert_path: Path) -> Callable[[], tuple[ModelRunner, Stats]]:
    """Makes runners of the tiny BERT, without weights."""
    options = engine_config(bert_path, {})
    checkpoint = open_checkpoint(options)

    def make() -> tuple[ModelRunner, Stats]:
        stats = Stats()
        model = abstract_model(checkpoint, options)
        return ModelRunner(model, {"classify": checkpoint.pooler("classify")}, stats), stats

    return make


def test_the_smallest_program_is_made_while_loading_and_once(bert_path: Path) -> None:
    llm = LLM(bert_path)
    (first,) = llm.classify("the cat", use_tqdm=False)
    (second,) = llm.classify("the cat", use_tqdm=False)
    assert llm.stats.compiles == 1
    assert first.outputs == second.outputs
    llm.warmup(use_tqdm=False)
    assert llm.stats.compiles == len(llm.model.ladder.buckets)


def test_what_is_prepared_on_zeros_scores_with_the_weights(
    make_runner: Callable[[], tuple[ModelRunner, Stats]], bert: LLM
) -> None:
    batch = empty_batch(bert.model.ladder.buckets[0])
    runner, stats = make_runner()
    runner.prepare(batch, "classify")
    runner.state = bert.model.runner.state
    ours = np.asarray(runner.run(batch, "classify").result().logits)
    theirs = np.asarray(bert.model.runner.run(batch, "classify", alone=True).result().logits)
    np.testing.assert_array_equal(ours, theirs)
    assert np.abs(ours).max() > 0
    assert stats.compiles == 1


def test_threads_that_want_a_program_share_one(make_runner: Callable[[], tuple[ModelRunner, Stats]], bert: LLM) -> None:
    runner, stats = make_runner()
    runner.state = bert.model.runner.state
    batches = [empty_batch(bucket) for bucket in bert.model.ladder.buckets[:2]] * 8
    with ThreadPoolExecutor(8) as pool:
        outputs = list(pool.map(lambda batch: runner.run(batch, "classify").result().probs, batches))
    assert len(outputs) == len(batches)
    assert stats.compiles == 2


def test_a_program_that_cannot_be_made_says_so_every_time(
    make_runner: Callable[[], tuple[ModelRunner, Stats]], bert: LLM
) -> None:
    runner, _ = make_runner()
    runner.state = bert.model.runner.state
    batch = empty_batch(bert.model.ladder.buckets[0])
    wrong = type(batch)(**{**vars(batch), "row_groups": ((1, 7),)})
    runner.prepare(wrong, "classify")
    for _ in range(2):
        with pytest.raises(ValueError, match="cover 7 tokens"):
            runner.run(wrong, "classify")
    assert runner.run(batch, "classify").result().probs.shape[1] == 3


needs_kernels = pytest.mark.skipif("float32" not in library().dtypes, reason="this machine has no compiled kernels")
families = pytest.mark.parametrize("family", [BERT, {**QWEN3, "head_dim": 16}], ids=["bert", "qwen3"])


def program_of(family: dict[str, Any], num_layers: int, path: Path) -> tuple[Bucket, str]:
    """The smallest bucket of such a model, and the program that is compiled for it."""
    wide = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": num_layers}
    write_checkpoint(path, {**family, **wide})
    model = LLM(path, dtype="float32", compilation_cache_dir=False).model
    bucket, runner = model.ladder.buckets[0], model.runner
    arrays, batch_structure = jax.tree.flatten(empty_batch(bucket))
    weights, structure = jax.tree.flatten(runner.state)
    step = make_step(runner.graphdef, structure, model.checkpoint.pooler("classify"), None, None)
    return bucket, step.lower(weights, arrays, None, batch_structure=batch_structure).compile().as_text()


@needs_kernels
@families
def test_a_layer_has_no_loops_beside_its_kernels(family: dict[str, Any], tmp_path: Path) -> None:
    # XLA would split those of a large step between threads, which then wait for each other twice a layer.
    loops = []
    for num_layers in (1, 3):
        _, program = program_of(family, num_layers, tmp_path / str(num_layers))
        assert program.count("jaxcls_norm") > 2 * num_layers
        loops.append(program.count(" fusion("))
    assert loops[0] == loops[1]


@needs_kernels
@families
def test_the_last_layer_computes_one_row_a_sequence(family: dict[str, Any], tmp_path: Path) -> None:
    bucket, program = program_of(family, 3, tmp_path / "model")
    for op in ("jaxcls_mlp", "jaxcls_attention"):
        rows = re.findall(rf"\[(\d+),[^=]* custom-call\([^\n]*{op}", program)
        assert sorted(map(int, rows)) == [bucket.num_seqs, bucket.num_tokens, bucket.num_tokens]

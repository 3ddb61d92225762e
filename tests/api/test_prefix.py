"""Prefixes that prompts have in common, and prompts longer than a step."""

import asyncio
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxcls import LLM, AsyncLLM, PoolingParams
from jaxcls.engine.call import PromptParams
from jaxcls.engine.device_pages import DevicePages
from jaxcls.engine.paging import PoolShape
from jaxcls.engine.pipeline import RequestBuilder
from jaxcls.engine.request import Request
from jaxcls.errors import ConfigError, JaxclsError
from tests.tiny import BERT, QWEN3, write_checkpoint

SALTS = ("a", "b")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Heads of 16: where there are compiled kernels, these run.
    config = {**QWEN3, "max_position_embeddings": 40_000, "head_dim": 16}
    return write_checkpoint(tmp_path_factory.mktemp("qwen3"), config)


def load(path: Path, **options: Any) -> LLM:
    return LLM(path, compilation_cache_dir=False, **options)


def prompts(count: int, *, prefix: int = 160, own: int = 96, seed: int = 0) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    shared = rng.integers(1, 64, prefix).tolist()
    return [shared + rng.integers(1, 64, own).tolist() for _ in range(count)]


def logits(outputs: Any) -> np.ndarray:
    return np.array([out.outputs.logits for out in outputs])


@pytest.fixture(scope="module")
def llm(path: Path) -> LLM:
    return load(path)


@pytest.fixture(scope="module")
def plain(path: Path) -> LLM:
    return load(path, enable_prefix_caching=False, enable_chunked_prefill=False)


def test_one_query_beside_fifty_documents_is_computed_once(path: Path, plain: LLM) -> None:
    llm = load(path)
    pairs = prompts(50)
    outputs = llm.classify(pairs, use_tqdm=False)
    assert llm.stats.tokens_given == 160 + 50 * 96
    # What was computed, padding included, against what would have been without padding.
    assert llm.stats.tokens_computed <= 0.45 * 50 * 256
    assert [out.num_cached_tokens for out in outputs].count(160) == 49
    assert llm.stats.tokens_reused == 49 * 160
    np.testing.assert_allclose(logits(outputs), logits(plain.classify(pairs, use_tqdm=False)), atol=1e-5)
    # They are kept for the next call, and for the first prompt of it.
    again = llm.classify(prompts(1), use_tqdm=False)
    assert again[0].num_cached_tokens >= 160


def test_a_prefix_that_comes_again_is_kept_the_second_time(path: Path) -> None:
    llm = load(path)
    cached = [llm.classify([prompt], use_tqdm=False)[0].num_cached_tokens for prompt in prompts(4, own=30)]
    assert cached == [0, 0, 160, 160]


def test_unrelated_prompts_have_no_pages(path: Path) -> None:
    llm = load(path)
    rng = np.random.default_rng(0)
    outputs = llm.classify([rng.integers(1, 64, 60).tolist() for _ in range(20)], use_tqdm=False)
    assert not any(out.num_cached_tokens for out in outputs)
    # No program with pages was needed.
    assert llm.stats.compiles <= len(llm.model.ladder.buckets)
    assert llm.stats.tokens_reused == 0


def test_salts_share_nothing(path: Path) -> None:
    llm = load(path)
    pairs = prompts(6)
    salted = [PoolingParams(cache_salt=SALTS[index % 2]) for index in range(6)]
    outputs = llm.classify(pairs, pooling_params=salted, use_tqdm=False)
    assert sum(out.num_cached_tokens == 160 for out in outputs) == 4
    other = llm.classify(pairs[:1], pooling_params=PoolingParams(cache_salt="c"), use_tqdm=False)
    assert other[0].num_cached_tokens == 0


@pytest.mark.parametrize("salt", ["", "a" * 129, "a/b", "a@b", "a\\b", "a\0b"])
def test_salts_that_are_refused(salt: str) -> None:
    with pytest.raises(ConfigError, match="cache_salt"):
        PoolingParams(cache_salt=salt)


def test_a_long_prompt_in_bounded_memory(path: Path, plain: LLM) -> None:
    llm = load(path, max_num_batched_tokens=2048, enable_chunked_prefill=True, kv_cache_tokens=40_064)
    prompt = np.random.default_rng(1).integers(1, 64, 32_000).tolist()
    (out,) = llm.classify([prompt], use_tqdm=False)
    assert llm.stats.steps == 16
    assert llm.stats.tokens_computed <= 16 * 2048
    # A middle of it, to compare with a prompt that ran whole, which takes memory for its length.
    short = prompt[:3000]
    np.testing.assert_allclose(
        logits(llm.classify([short], use_tqdm=False)), logits(plain.classify([short], use_tqdm=False)), atol=1e-5
    )
    assert np.isfinite(out.outputs.logits).all()


def test_rows_of_tokens_are_those_of_the_whole_prompt(llm: LLM, plain: LLM) -> None:
    prompt = np.random.default_rng(2).integers(1, 64, 1300).tolist()
    ours, whole = (
        one.encode([prompt], pooling_task="token_classify", use_tqdm=False)[0].outputs.data for one in (llm, plain)
    )
    assert ours.shape == (1300, 2)
    np.testing.assert_allclose(ours, whole, atol=1e-5)


def test_a_pool_that_is_too_small_for_a_prompt_leaves_it_whole(path: Path, plain: LLM) -> None:
    llm = load(path, kv_cache_tokens=128)
    pairs = prompts(4)
    np.testing.assert_allclose(
        logits(llm.classify(pairs, use_tqdm=False)), logits(plain.classify(pairs, use_tqdm=False)), atol=1e-5
    )
    assert llm.stats.tokens_reused == 0


def test_concurrent_calls_share_the_pool(path: Path, plain: LLM) -> None:
    pairs = prompts(12)
    expected = logits(plain.classify(pairs, use_tqdm=False))

    async def run() -> tuple[list[Any], int]:
        async with AsyncLLM(path, compilation_cache_dir=False) as llm:
            found = await asyncio.gather(*(llm.classify(pair) for pair in pairs))
            return [out for (out,) in found], llm.stats.tokens_reused

    outputs, reused = asyncio.run(run())
    np.testing.assert_allclose(logits(outputs), expected, atol=1e-5)
    assert reused >= 8 * 160


def test_priorities_decide_who_runs_first(path: Path) -> None:
    with pytest.raises(ConfigError, match='scheduling_policy="priority"'):
        load(path).classify("a cat", pooling_params=PoolingParams(priority=1), use_tqdm=False)
    llm = load(path, scheduling_policy="priority", enable_prefix_caching=False)
    rng = np.random.default_rng(0)
    texts = [rng.integers(1, 64, 400).tolist() for _ in range(3)]
    params = [PoolingParams(priority=priority) for priority in (2, 1, 0)]
    done = [finished.request.index for finished in _finished(llm, texts, params)]
    assert done == [2, 1, 0]


def _finished(llm: LLM, texts: list[list[int]], params: list[PoolingParams]) -> Any:
    engine = llm.model.engine()
    for request in RequestBuilder(llm.model, "classify", PromptParams(params)).build(0, texts):
        assert not isinstance(request, Exception)
        engine.add(request)
    return engine.drain()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kv_cache_tokens": 512, "kv_cache_memory_bytes": 10**6}, "give one"),
        ({"kv_cache_tokens": 8}, "a page has 16"),
        ({"kv_cache_tokens": 512, "enable_chunked_prefill": True}, "prompts of 40000 must fit.*lower max_model_len"),
        ({"block_size": 4}, "block_size"),
    ],
)
def test_sizes_that_contradict_each_other(path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(path, **options)


def test_the_pool_is_sized_by_bytes(path: Path) -> None:
    # Two layers, keys and values of two heads of 16 numbers, four bytes each.
    per_token = 2 * 2 * 2 * 16 * 4
    llm = load(path, kv_cache_memory_bytes=1024 * per_token, dtype="float32")
    assert llm.model.paging is not None
    assert llm.model.paging.shape.num_pages == 64


@pytest.mark.parametrize("option", ["enable_prefix_caching", "enable_chunked_prefill"])
def test_models_that_see_a_text_whole_are_refused_pages(option: str, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "bert", BERT)
    with pytest.raises(ConfigError, match=f"{option}=True.*has to see a text whole"):
        load(tmp_path / "bert", **{option: True})
    assert load(tmp_path / "bert").model.paging is None


def test_what_a_failing_step_left_is_not_read(path: Path, plain: LLM) -> None:
    llm = load(path)
    pairs = prompts(6)
    llm.classify(pairs, use_tqdm=False)
    llm.model.runner.lose_pages()
    reused = llm.stats.tokens_reused
    np.testing.assert_allclose(
        logits(llm.classify(pairs, use_tqdm=False)), logits(plain.classify(pairs, use_tqdm=False)), atol=1e-5
    )
    # The prefix was computed again, once.
    assert llm.stats.tokens_reused - reused == 5 * 160


def test_steps_planned_before_a_loss_are_errors() -> None:
    pages = DevicePages(PoolShape(1, 2, 8, 1, 4, "float32"))
    nothing: Any = None

    def fails(array: Any) -> Any:
        raise RuntimeError("out of memory")

    assert pages.run(lambda array: (nothing, array + 1), 0) is None
    with pytest.raises(RuntimeError, match="out of memory"):
        pages.run(fails, 0)
    with pytest.raises(JaxclsError, match="try again"):
        pages.run(lambda array: (nothing, array), 0)
    seen: list[Any] = []
    pages.run(lambda array: (nothing, seen.append(array) or array), 1)
    assert not np.asarray(seen[0]).any()


def test_there_is_no_pool_where_it_is_of_no_use(qwen_path: Path) -> None:
    """No prefixes are kept, and no prompt is longer than a step."""
    options: dict[str, Any] = {"enable_prefix_caching": False, "max_num_batched_tokens": 64}
    assert LLM(qwen_path, max_model_len=64, **options).model.paging is None
    assert LLM(qwen_path, max_model_len=65, **options).model.paging is not None
    assert LLM(qwen_path, max_model_len=64, enable_chunked_prefill=True, **options).model.paging is not None


def test_a_failing_step_with_pages_leaves_those_that_wait(path: Path, plain: LLM) -> None:
    llm = load(path)
    engine, state = llm.model.engine(), llm.model.runner.state
    others = prompts(3, seed=1)
    given = [*prompts(3), *others]
    for request in RequestBuilder(llm.model, "classify", PromptParams()).build(0, given):
        assert isinstance(request, Request)
        engine.add(request.ordered((request.index // 3, 0)))
    llm.model.runner.state = None
    assert engine.step() == []
    deadline = time.monotonic() + 60
    while llm.model.runner.pages_generation == 0:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    llm.model.runner.state = state
    with pytest.raises(TypeError, match="given list of length 0"):
        list(engine.drain())
    failed = engine.abandon()
    assert failed is not None
    assert sorted(request.index for request in failed) == [0, 1, 2]
    rows = {finished.request.index: finished.logits for finished in engine.drain()}
    expected = logits(plain.classify(others, use_tqdm=False))
    np.testing.assert_allclose([rows[index] for index in (3, 4, 5)], expected, atol=1e-5)
    assert len(rows) == 3


def test_rows_of_tokens_that_begin_anew_are_not_given_twice(path: Path, plain: LLM) -> None:
    llm = load(path, kv_cache_tokens=8192)
    rng = np.random.default_rng(3)
    prompt, another = (rng.integers(1, 64, count).tolist() for count in (2000, 600))
    builder = RequestBuilder(llm.model, "token_classify", PromptParams())
    engine, other = llm.model.engine(), llm.model.engine()
    for one, ids in ((engine, prompt), (other, another)):
        (request,) = builder.build(0, [ids])
        assert isinstance(request, Request)
        one.add(request)
    for _ in range(3):
        assert engine.step() == []
    # Steps with pages run in turn: those of the first three chunks are done when the other engine is.
    assert len(list(other.drain())) == 1
    llm.model.runner.lose_pages()
    (finished,) = engine.drain()
    (whole,) = plain.encode([prompt], pooling_task="token_classify", use_tqdm=False)
    assert whole.outputs is not None
    np.testing.assert_allclose(finished.probs, whole.outputs.data, atol=1e-5)


def test_warm_up_compiles_all_that_will_be_needed(path: Path) -> None:
    llm = load(path, max_model_len=2000)
    assert sum(1 for _ in llm.model.engine().warmup()) == len(llm.model.ladder.buckets) + len(llm.model.ladder.paged)
    compiled = llm.stats.compiles
    llm.classify([*prompts(5), *prompts(1, own=900, seed=3)], use_tqdm=False)
    assert llm.stats.compiles == compiled

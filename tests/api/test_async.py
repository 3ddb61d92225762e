"""AsyncLLM: concurrent callers, cancellation, failure, closing."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from jaxcls import LLM, AsyncLLM, PoolingParams
from jaxcls.errors import JaxclsError, PromptError, QueueFullError
from tests.tiny import BERT, QWEN3, write_checkpoint

PROMPTS = ["the cat", "a happy dog ran", "sad " * 30, "not very slow but fast", "tree"] * 8


def run(path: Path, body: Callable[[AsyncLLM], Awaitable[None]]) -> None:
    async def main() -> None:
        async with AsyncLLM(path) as llm:
            await body(llm)

    asyncio.run(asyncio.wait_for(main(), 120))


def test_concurrent_calls_give_the_offline_rows_and_share_steps(bert_path: Path, bert: LLM) -> None:
    expected = [out.outputs.logits for out in bert.classify(PROMPTS) if out.outputs]

    async def body(llm: AsyncLLM) -> None:
        await llm.classify("warm")
        steps = llm.stats.steps
        results = await asyncio.gather(*(llm.classify(prompt) for prompt in PROMPTS))
        found = [out.outputs.logits for (out,) in results if out.outputs]
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert llm.stats.steps - steps < len(PROMPTS)

    run(bert_path, body)


def test_batches_params_and_encode(bert_path: Path) -> None:
    async def body(llm: AsyncLLM) -> None:
        params = [PoolingParams(use_activation=i % 2 == 0) for i in range(len(PROMPTS))]
        for i, out in enumerate(await llm.classify(PROMPTS, pooling_params=params)):
            assert out.outputs is not None
            assert (out.outputs.probs == out.outputs.logits) == (i % 2 == 1)
            assert out.request_id == str(i)
        (tokens,) = await llm.encode("the cat", pooling_task="token_classify")
        assert tokens.outputs is not None
        assert tokens.outputs.data.shape == (4, 3)

    run(bert_path, body)


def test_errors_concern_their_caller_only(bert_path: Path) -> None:
    async def body(llm: AsyncLLM) -> None:
        good, bad = await asyncio.gather(llm.classify("the cat"), llm.classify([[99999]]), return_exceptions=True)
        assert isinstance(bad, PromptError)
        assert not isinstance(good, BaseException)
        returned = await llm.classify(["the cat", [99999]], on_error="return")
        assert [out.error is None for out in returned] == [True, False]

    run(bert_path, body)


def test_a_cancelled_call_leaves_the_next_one_well(bert_path: Path) -> None:
    async def body(llm: AsyncLLM) -> None:
        task = asyncio.create_task(llm.classify(PROMPTS * 50))
        while not llm.stats.steps:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        (out,) = await llm.classify("the cat")
        assert out.outputs is not None
        assert llm.stats.prompts < len(PROMPTS) * 50

    run(bert_path, body)


def test_a_failing_step_fails_its_callers_and_not_the_engine(bert_path: Path) -> None:
    async def body(llm: AsyncLLM) -> None:
        state = llm.model.runner.state
        llm.model.runner.state = None
        with pytest.raises(TypeError, match="given list of length 0"):
            await llm.classify("the cat")
        llm.model.runner.state = state
        (out,) = await llm.classify("the cat")
        assert out.outputs is not None

    run(bert_path, body)


def test_closing_ends_waiting_calls(bert_path: Path) -> None:
    async def main() -> None:
        llm = AsyncLLM(bert_path)
        task = asyncio.create_task(llm.classify(PROMPTS * 200))
        await asyncio.sleep(0.3)
        await asyncio.to_thread(llm.close)
        with pytest.raises(JaxclsError, match="closed"):
            await task
        with pytest.raises(JaxclsError, match="closed"):
            await llm.classify("the cat")

    asyncio.run(asyncio.wait_for(main(), 120))


def test_the_other_calls_are_those_of_llm(tmp_path: Path) -> None:
    names = {"id2label": {"0": "contradiction", "1": "entailment"}}
    path = write_checkpoint(tmp_path / "nli", {**BERT, **names})
    llm = LLM(path)

    async def both() -> tuple[list[object], list[object]]:
        async with AsyncLLM(path) as other:
            return await other.zero_shot(["the cat"], ["red", "blue"]), await other.reward("the cat", ["red", "blue"])

    zero_shot, reward = asyncio.run(both())
    assert zero_shot == llm.zero_shot(["the cat"], ["red", "blue"], use_tqdm=False)
    assert [out.outputs.data.tolist() for out in reward] == [
        out.outputs.data.tolist() for out in llm.reward("the cat", ["red", "blue"], use_tqdm=False)
    ]


def test_token_classify(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "ner", {**BERT, "architectures": ["BertForTokenClassification"]})

    async def spans() -> object:
        async with AsyncLLM(path) as llm:
            return await llm.token_classify(["the cat", "the " * 300], on_error="return")

    found = asyncio.run(spans())
    expected = LLM(path).token_classify(["the cat"], use_tqdm=False)
    assert found[0] == expected[0]
    assert found[1].error is not None


def test_lone_calls_wait_for_each_other_and_say_where_the_time_went(bert_path: Path) -> None:
    async def main() -> None:
        async with AsyncLLM(bert_path, max_wait=0.05) as llm:
            await llm.classify("warm")
            before = llm.stats.steps
            outputs = await asyncio.gather(*(llm.classify(prompt) for prompt in PROMPTS))
            assert llm.stats.steps - before < len(PROMPTS) / 2
            for (output,) in outputs:
                assert output.timings is not None
                assert min(output.timings.tokenize, output.timings.compute) > 0

    asyncio.run(asyncio.wait_for(main(), 120))


def test_a_full_queue_refuses_by_name(bert_path: Path) -> None:
    async def main() -> None:
        async with AsyncLLM(bert_path, max_queue=3) as llm:
            with pytest.raises(QueueFullError, match="at most 3") as caught:
                await llm.classify(["the cat"] * 4)
            assert caught.value.retry_after >= 1
            assert len(await llm.classify(["the cat"] * 3)) == 3

    asyncio.run(asyncio.wait_for(main(), 120))


def test_a_short_text_does_not_wait_for_a_long_one(tmp_path: Path) -> None:
    config = {**QWEN3, "max_position_embeddings": 16_384, "head_dim": 16}
    path = write_checkpoint(tmp_path, config)
    long, short = [1] * 16_000, [2] * 20
    done: list[str] = []

    async def run() -> None:
        # One step each, the long one thousands of times as much work; a text that came again would have its prefix from
        # pages, by a program of its own.
        whole: dict[str, Any] = {"enable_chunked_prefill": False, "enable_prefix_caching": False}
        async with AsyncLLM(path, compilation_cache_dir=False, **whole) as llm:

            async def ask(name: str, ids: list[int]) -> None:
                await llm.classify(ids)
                done.append(name)

            for ids in (long, short):
                await ask("compiles", ids)
            first = asyncio.create_task(ask("long", long))
            while not llm.loop.pending:
                await asyncio.sleep(0)
            await ask("short", short)
            await first

    asyncio.run(run())
    assert done[2:] == ["short", "long"]


def test_steps_for_many_callers_are_shorter_than_those_of_one(bert_path: Path, bert: LLM) -> None:
    async def body(llm: AsyncLLM) -> None:
        part = 2 if jax.default_backend() == "cpu" else 1
        assert llm.model.ladder.max_tokens == bert.model.ladder.max_tokens // part

    run(bert_path, body)

"""AsyncLLM: the same model for concurrent callers on an event loop."""

import asyncio
import dataclasses
import itertools
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self, Unpack

from jaxcls.classify import PoolingTask, classify_call, encode_call
from jaxcls.config.engine import EngineOptions, engine_config
from jaxcls.embed import embed_call, token_embed_call
from jaxcls.engine.call import Call, error_of
from jaxcls.engine.loop import EngineLoop, Result
from jaxcls.engine.pipeline import OnError, RequestBuilder, check_on_error
from jaxcls.engine.request import Finished, Outcome, Request, first_equal
from jaxcls.engine.setup import Model, load_model
from jaxcls.engine.stats import Stats
from jaxcls.errors import PromptError
from jaxcls.inputs.prompt import Prompt, prompt_list
from jaxcls.llm import prompt_items
from jaxcls.outputs import (
    ClassificationRequestOutput,
    EmbeddingRequestOutput,
    OutputT,
    PoolingRequestOutput,
    RequestOutput,
    RerankResult,
    RewardRequestOutput,
    ScoringRequestOutput,
    Timings,
    TokenClassificationRequestOutput,
    TokenEmbeddingRequestOutput,
    ZeroShotRequestOutput,
)
from jaxcls.pooling_params import PoolingParams
from jaxcls.ranking import Ranking, ScoreInput, inputs, score_pairs
from jaxcls.reward import conversations, reward_call
from jaxcls.score import ScoreOptions, score_call, score_or_error
from jaxcls.spans import Aggregation
from jaxcls.token_classify import token_classify_call
from jaxcls.zero_shot import HYPOTHESIS, zero_shot_call


class AsyncLLM:
    """`LLM` over asyncio: prompts of all callers share steps, the oldest first.

    Example:
        >>> llm = AsyncLLM("demo")
        >>> (out,) = await llm.classify("fn main() {}")

    Close it with `close()` or `async with`; a pending call is then an error, never a hang.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        max_queue: int | None = None,
        max_wait: float = 0.002,
        **options: Unpack[EngineOptions],
    ):
        """Loads like `LLM`, with the same arguments and errors.

        Args:
            model: see `LLM`.
            max_queue: most items (prompts, pairs, texts) that may wait and run; calls beyond raise QueueFullError.
                None: no limit.
            max_wait: seconds that a prompt may wait for others to share its step, while nothing runs and others are
                expected.
            **options: see `LLM`.
        """
        self.model: Model = load_model(engine_config(model, dict(options)), shared=True)
        self.loop = EngineLoop(self.model, max_queue=max_queue, max_wait=max_wait)

    @property
    def stats(self) -> Stats:
        """Counters since construction."""
        return self.model.stats

    async def classify(
        self,
        prompts: Prompt | Sequence[Prompt],
        *,
        pooling_params: PoolingParams | Sequence[PoolingParams] | None = None,
        tokenization_kwargs: dict[str, Any] | None = None,
        on_error: OnError = "raise",
    ) -> list[ClassificationRequestOutput]:
        """See `LLM.classify`. Cancelling the call drops its prompts that have not run."""
        call = classify_call(self.model, pooling_params, tokenization_kwargs)
        return await self._run(call, prompt_items(prompts), on_error)

    async def encode(
        self,
        prompts: Prompt | Sequence[Prompt],
        pooling_params: PoolingParams | Sequence[PoolingParams] | None = None,
        *,
        pooling_task: PoolingTask | None = None,
        tokenization_kwargs: dict[str, Any] | None = None,
        on_error: OnError = "raise",
    ) -> list[PoolingRequestOutput]:
        """See `LLM.encode`."""
        call = encode_call(self.model, pooling_task, pooling_params, tokenization_kwargs)
        return await self._run(call, prompt_items(prompts), on_error)

    async def embed(
        self,
        prompts: Prompt | Sequence[Prompt],
        *,
        dimensions: int | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        pooling_params: PoolingParams | Sequence[PoolingParams] | None = None,
        tokenization_kwargs: dict[str, Any] | None = None,
        on_error: OnError = "raise",
    ) -> list[EmbeddingRequestOutput]:
        """See `LLM.embed`."""
        before = {"prompt_name": prompt_name, "prompt": prompt}
        call = embed_call(self.model, pooling_params, tokenization_kwargs, dimensions=dimensions, **before)
        return await self._run(call, prompt_items(prompts), on_error)

    async def token_embed(
        self,
        prompts: Prompt | Sequence[Prompt],
        *,
        is_query: bool | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        pooling_params: PoolingParams | Sequence[PoolingParams] | None = None,
        tokenization_kwargs: dict[str, Any] | None = None,
        on_error: OnError = "raise",
    ) -> list[TokenEmbeddingRequestOutput]:
        """See `LLM.token_embed`."""
        before = {"prompt_name": prompt_name, "prompt": prompt}
        call = token_embed_call(self.model, pooling_params, tokenization_kwargs, is_query=is_query, **before)
        return await self._run(call, prompt_items(prompts), on_error)

    async def token_classify(
        self,
        texts: str | Sequence[str],
        *,
        aggregation: Aggregation = "none",
        ignore_labels: Sequence[str] = ("O",),
        tokenization_kwargs: dict[str, Any] | None = None,
        on_error: OnError = "raise",
    ) -> list[TokenClassificationRequestOutput]:
        """See `LLM.token_classify`."""
        call = token_classify_call(
            self.model, aggregation=aggregation, ignore=ignore_labels, tokenization=tokenization_kwargs
        )
        return await self._run(call, prompt_list(texts), on_error)

    async def zero_shot(
        self,
        texts: str | Sequence[str],
        labels: Sequence[str] | str,
        *,
        hypothesis_template: str = HYPOTHESIS,
        multi_label: bool = False,
        on_error: OnError = "raise",
    ) -> list[ZeroShotRequestOutput]:
        """See `LLM.zero_shot`."""
        call = zero_shot_call(self.model, labels, template=hypothesis_template, multi_label=multi_label)
        return await self._run(call, prompt_list(texts), on_error)

    async def reward(
        self,
        prompts: Any,
        responses: Sequence[str] | None = None,
        *,
        use_activation: bool | None = None,
        tokenization_kwargs: dict[str, Any] | None = None,
        on_error: OnError = "raise",
    ) -> list[RewardRequestOutput]:
        """See `LLM.reward`."""
        call = reward_call(self.model, use_activation=use_activation, tokenization=tokenization_kwargs)
        return await self._run(call, conversations(prompts, responses), on_error)

    async def score(
        self,
        data_1: ScoreInput | Sequence[ScoreInput],
        data_2: ScoreInput | Sequence[ScoreInput],
        /,
        *,
        on_error: OnError = "raise",
        **options: Unpack[ScoreOptions],
    ) -> list[ScoringRequestOutput]:
        """See `LLM.score`."""
        return await self._run(score_call(self.model, **options), score_pairs(data_1, data_2), on_error)

    async def rerank(
        self,
        query: ScoreInput,
        documents: Sequence[ScoreInput],
        *,
        top_n: int | None = None,
        score_threshold: float | None = None,
        return_documents: bool = True,
        on_error: OnError = "raise",
        **options: Unpack[ScoreOptions],
    ) -> list[RerankResult]:
        """See `LLM.rerank`."""
        ranking = Ranking(top_n, score_threshold, return_documents)
        texts = inputs(documents, "documents")
        outputs = await self.score(query, texts, on_error=on_error, **options)
        return ranking.of(list(map(score_or_error, outputs)), texts)

    def warmup(self) -> None:
        """See `LLM.warmup`; before the first call."""
        for _ in self.model.engine().warmup(self.model.checkpoint.tasks[0]):
            pass

    def close(self) -> None:
        """Stops the engine thread; calls that still wait fail."""
        self.loop.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.close)

    async def _run(self, call: Call[OutputT], items: Sequence[Any], on_error: OnError) -> list[RequestOutput[OutputT]]:
        check_on_error(on_error)
        call.params.check_count(len(items))
        with self.loop.admitted(len(items)):
            started = time.perf_counter()
            counts, built = await asyncio.to_thread(
                _build, call, items, RequestBuilder(self.model, call.task, call.params)
            )
            owners = [index for index, count in enumerate(counts) for _ in range(count)]
            for owner, request in zip(owners, built, strict=True):
                if on_error == "raise" and isinstance(request, PromptError):
                    raise error_of(owner, request)
            tokenized = time.perf_counter()
            outcomes = await self._outcomes(built, first_equal(built) if call.repeats else range(len(built)))
        remaining = iter(outcomes)
        outputs: list[RequestOutput[OutputT]] = []
        for index, (item, count) in enumerate(zip(items, counts, strict=True)):
            own = list(itertools.islice(remaining, count))
            output = call.output(index, item, own)
            if output.error is not None and on_error == "raise":
                raise output.error
            timings = _timings(started, tokenized, [one.finished for one in own if one.finished is not None])
            outputs.append(dataclasses.replace(output, timings=timings))
        return outputs

    async def _outcomes(self, built: Sequence[Request | PromptError], same: Sequence[int]) -> list[Outcome]:
        """The outcome of each; `same` says whose rows it has."""
        first = {i: r for i, r in enumerate(built) if same[i] == i and not isinstance(r, PromptError)}
        rows = dict(zip(first, await self._finished(list(first.values())), strict=True))
        return [
            Outcome(index, [], None, request)
            if isinstance(request, PromptError)
            else Outcome(index, request.tokens.token_ids, rows[own], rows[own].error)
            for index, (request, own) in enumerate(zip(built, same, strict=True))
        ]

    async def _finished(self, requests: Sequence[Request]) -> list[Finished]:
        if not requests:
            return []
        events = asyncio.get_running_loop()
        future: asyncio.Future[list[Finished]] = events.create_future()

        def deliver(result: Result) -> None:
            with suppress(RuntimeError):  # the event loop of a caller that left may be closed
                events.call_soon_threadsafe(_settle, future, result)

        job = self.loop.submit(requests, deliver)
        try:
            return await future
        except asyncio.CancelledError:
            self.loop.cancel(job)
            raise


def _settle(future: "asyncio.Future[list[Finished]]", result: Result) -> None:
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)


def _timings(started: float, tokenized: float, rows: Sequence[Finished]) -> Timings | None:
    if not rows:
        return None
    planned = min(row.planned for row in rows)
    return Timings(tokenized - started, max(0.0, planned - tokenized), max(row.done for row in rows) - planned)


def _build(
    call: Call[Any], items: Sequence[Any], builder: RequestBuilder
) -> tuple[list[int], list[Request | PromptError]]:
    """How many prompts each item has, and all of them."""
    prompts = [call.prompts(item) for item in items]
    return list(map(len, prompts)), builder.build(0, list(itertools.chain.from_iterable(prompts)))

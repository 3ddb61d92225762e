"""AsyncLLM: the same model for concurrent callers on an event loop."""

import asyncio
import dataclasses
import itertools
import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Self, Unpack

from jaxcls.classify import PoolingTask, classify_call, encode_call
from jaxcls.config.engine import EngineOptions, engine_config
from jaxcls.embed import embed_call, token_embed_call
from jaxcls.engine.call import Call, error_of
from jaxcls.engine.engine import Engine
from jaxcls.engine.pipeline import OnError, RequestBuilder, check_on_error
from jaxcls.engine.request import Finished, Order, Outcome, Request, first_equal
from jaxcls.engine.setup import Model, load_model
from jaxcls.engine.stats import Stats
from jaxcls.errors import JaxclsError, PromptError
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
    TokenClassificationRequestOutput,
    TokenEmbeddingRequestOutput,
    ZeroShotRequestOutput,
)
from jaxcls.pooling_params import PoolingParams
from jaxcls.reward import conversations, reward_call
from jaxcls.score import Ranking, ScoreInput, ScoreOptions, inputs, score_call, score_or_error, score_pairs
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

    def __init__(self, model: str | Path, **options: Unpack[EngineOptions]):
        """Loads like `LLM`, with the same arguments and errors."""
        self.model: Model = load_model(engine_config(model, dict(options)))
        self._worker = _Worker(self.model)

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

    def close(self) -> None:
        """Stops the engine thread; calls that still wait fail."""
        self._worker.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.close)

    async def _run(self, call: Call[OutputT], items: Sequence[Any], on_error: OnError) -> list[RequestOutput[OutputT]]:
        check_on_error(on_error)
        call.params.check_count(len(items))
        builder = RequestBuilder(self.model, call.task, call.params)
        counts, built = await asyncio.to_thread(_build, call, items, builder)
        owners = [index for index, count in enumerate(counts) for _ in range(count)]
        for owner, request in zip(owners, built, strict=True):
            if on_error == "raise" and isinstance(request, PromptError):
                raise error_of(owner, request)
        outcomes = iter(await self._outcomes(built, first_equal(built) if call.repeats else range(len(built))))
        outputs = [
            call.output(index, item, list(itertools.islice(outcomes, count)))
            for index, (item, count) in enumerate(zip(items, counts, strict=True))
        ]
        error = next((output.error for output in outputs if output.error is not None), None)
        if error is not None and on_error == "raise":
            raise error
        return outputs

    async def _outcomes(self, built: Sequence[Request | PromptError], same: Sequence[int]) -> list[Outcome]:
        """The outcome of each; `same` says whose rows it has."""
        futures = {
            index: asyncio.wrap_future(self._worker.submit(request))
            for index, (request, first) in enumerate(zip(built, same, strict=True))
            if index == first and not isinstance(request, PromptError)
        }
        rows: dict[int, Finished] = dict(zip(futures, await asyncio.gather(*futures.values()), strict=True))
        return [
            Outcome(index, [], None, request)
            if isinstance(request, PromptError)
            else Outcome(index, request.tokens.token_ids, rows[first], rows[first].error)
            for index, (request, first) in enumerate(zip(built, same, strict=True))
        ]


def _build(
    call: Call[Any], items: Sequence[Any], builder: RequestBuilder
) -> tuple[list[int], list[Request | PromptError]]:
    """How many prompts each item has, and all of them."""
    prompts = [call.prompts(item) for item in items]
    return list(map(len, prompts)), builder.build(0, list(itertools.chain.from_iterable(prompts)))


class _Worker:
    """The thread that owns the engine. Every future it is given is completed, whatever happens."""

    def __init__(self, model: Model):
        self._model = model
        self._inbox: queue.SimpleQueue[_Submit | _Cancel | None] = queue.SimpleQueue()
        self._orders = itertools.count()
        self._closed = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._loop, name="jaxcls-engine", daemon=True)
        self._thread.start()

    def submit(self, request: Request) -> Future[Finished]:
        """Queues a request behind those before it."""
        future: Future[Finished] = Future()
        with self._lock:
            if self._closed:
                raise JaxclsError("this AsyncLLM is closed")
            ordered = request.ordered((request.order[0], next(self._orders)))
            self._inbox.put(_Submit(ordered, future))
        future.add_done_callback(lambda f: self._inbox.put(_Cancel(ordered)) if f.cancelled() else None)
        return future

    def close(self) -> None:
        """Stops the thread."""
        with self._lock:
            self._closed = True
        self._inbox.put(None)
        self._thread.join()

    def _loop(self) -> None:
        engine = self._model.engine()
        pending: dict[Order, Future[Finished]] = {}
        while self._receive(engine, pending):
            try:
                for finished in engine.step():
                    future = pending.pop(finished.request.order, None)
                    if future is not None and future.set_running_or_notify_cancel():
                        future.set_result(finished)
            except Exception as error:  # a failing step fails its callers, not the thread
                engine.abort()
                _fail_all(pending, error)
        _fail_all(pending, JaxclsError("this AsyncLLM was closed"))

    def _receive(self, engine: Engine, pending: dict[Order, Future[Finished]]) -> bool:
        """Moves what has arrived into the engine; waits only when there is nothing to do. False: closed."""
        while True:
            try:
                match self._inbox.get(block=engine.idle):
                    case _Submit(request, future):
                        pending[request.order] = future
                        engine.add(request)
                    case _Cancel(request):
                        pending.pop(request.order, None)
                        engine.cancel(request)
                    case None:
                        return False
            except queue.Empty:
                return True


@dataclasses.dataclass(frozen=True)
class _Submit:
    request: Request
    future: Future[Finished]


@dataclasses.dataclass(frozen=True)
class _Cancel:
    request: Request


def _fail_all(pending: dict[Order, Future[Finished]], error: Exception) -> None:
    for future in pending.values():
        if future.set_running_or_notify_cancel():
            future.set_exception(error)
    pending.clear()

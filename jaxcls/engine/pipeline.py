"""Items -> outputs in input order: a window is tokenised on a thread while the device works on the one before."""

import dataclasses
import itertools
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, Literal

from jaxcls.engine.call import Call, EnginePrompt, PromptParams
from jaxcls.engine.engine import Engine
from jaxcls.engine.request import Finished, Outcome, Request, Task, first_equal
from jaxcls.engine.setup import Model
from jaxcls.errors import ConfigError, PromptError
from jaxcls.inputs.prompt import TextPrompt, TokensPrompt, parse_prompt
from jaxcls.inputs.tokenize_options import TokenizeOptions, check_max_tokens, tokenize_options
from jaxcls.outputs import OutputT, RequestOutput
from jaxcls.pooling_params import PoolingParams

# Prompts planned together: enough to pack rows well, few enough to bound memory.
WINDOW = 4096


OnError = Literal["raise", "return"]


def check_on_error(on_error: str) -> None:
    """Raises ConfigError unless `on_error` is one of the two it can be."""
    if on_error not in ("raise", "return"):
        raise ConfigError(f"on_error must be 'raise' or 'return', got {on_error!r}")


class RequestBuilder:
    """Prompts of one call -> validated requests."""

    def __init__(self, model: Model, task: Task, params: PromptParams):
        model.checkpoint.check_task(task)
        self._model, self._params = model, params
        self._task: Task = task
        self._pooler = model.checkpoint.pooler(task)
        self._options = tokenize_options(params.tokenization, max_len=model.checkpoint.max_len, texts=params.texts)

    def build(self, first: int, prompts: Sequence[Any]) -> list[Request | PromptError]:
        """Tokenises prompts `first`, `first + 1` ...; an error stands in the place of its prompt, before and after."""
        parsed: list[TextPrompt | TokensPrompt | PromptError] = []
        for prompt in prompts:
            try:
                parsed.append(prompt if isinstance(prompt, PromptError) else parse_prompt(prompt))
            except PromptError as error:
                parsed.append(error)
        params = [self._params.at(first + offset) for offset in range(len(prompts))]
        good = [i for i, prompt in enumerate(parsed) if not isinstance(prompt, PromptError)]
        texts = [prompt for prompt in parsed if not isinstance(prompt, PromptError)]
        tokens = iter(self._model.tokenizer(texts, [self._tokenize_options(params[i]) for i in good]))
        results = [prompt if isinstance(prompt, PromptError) else next(tokens) for prompt in parsed]
        return [self._request(first + i, result, params[i]) for i, result in enumerate(results)]

    def _tokenize_options(self, params: PoolingParams) -> TokenizeOptions:
        if params.truncate_prompt_tokens is None:
            return self._options
        if self._options.max_tokens is not None:
            raise ConfigError("truncation is given both in PoolingParams and in tokenization_kwargs")
        keep = check_max_tokens(params.truncate_prompt_tokens, "truncate_prompt_tokens", self._model.checkpoint.max_len)
        return dataclasses.replace(self._options, max_tokens=keep)

    def _request(self, index: int, tokens: TokensPrompt | PromptError, params: PoolingParams) -> Request | PromptError:
        if isinstance(tokens, PromptError):
            return type(tokens)(tokens.message, index=index)
        tag = self._model.checkpoint.step_tag_id
        if tag is not None and tag not in tokens.token_ids:
            return PromptError(f"no token of this prompt ends a step of reasoning: there is no {tag}", index=index)
        use_activation = params.use_activation
        if use_activation is None:
            use_activation = self._model.checkpoint.use_activation
        order = (self._priority(params), 0)
        paging = self._paging(tokens, params.cache_salt)
        return Request(index, tokens, use_activation, self._task, self._dimensions(params), order, *paging)

    def _priority(self, params: PoolingParams) -> int:
        if params.priority and self._model.options.scheduling_policy != "priority":
            raise ConfigError(
                f"priority = {params.priority}, but requests run in the order they come in: load the model with "
                'scheduling_policy="priority"'
            )
        return params.priority

    def _paging(self, tokens: TokensPrompt, salt: str | None) -> tuple[bool, int | None, tuple[bytes, ...]]:
        """What `Request` says of pages: whether it may have some, its scored token, the names of its leading pages."""
        if self._model.paging is None or not self._pooler.chunkable or tokens.num_unseen:
            return False, None, ()
        planner, scored = self._model.paging.planner, self._pooler.scored(tokens.token_ids)
        if scored is None or not planner.reuses:
            return True, scored, ()
        count = scored // planner.allocator.page_size
        return True, scored, planner.allocator.hashes(tokens.token_ids, salt, count)

    def _dimensions(self, params: PoolingParams) -> int | None:
        wanted, checkpoint = params.dimensions, self._model.checkpoint
        if wanted is not None and checkpoint.embedder is None:
            raise ConfigError("dimensions are those of an embedding: classifiers have none")
        if wanted is not None and wanted > checkpoint.embed_dim:
            raise ConfigError(f"dimensions = {wanted}, but {checkpoint.name} has {checkpoint.embed_dim}")
        return wanted


class Pipeline(Generic[OutputT]):
    """A call over items; iterate to run it. A sized input gives a sized pipeline."""

    def __init__(self, model: Model, call: Call[OutputT], items: Iterable[Any], on_error: str):
        check_on_error(on_error)
        self._model, self._call, self._items, self._on_error = model, call, items, on_error
        self._builder = RequestBuilder(model, call.task, call.params)
        if isinstance(items, Sequence):
            call.params.check_count(len(items))

    def __len__(self) -> int:
        if not isinstance(self._items, Sequence):
            raise TypeError("the items are a stream of unknown length")
        return len(self._items)

    def __iter__(self) -> Iterator[RequestOutput[OutputT]]:
        # Items that have been read, and whose outcomes have not come.
        waiting: deque[tuple[Any, int]] = deque()
        outcomes = self._in_order(self._prompts(waiting))
        for index, first in enumerate(outcomes):
            item, count = waiting.popleft()
            output = self._call.output(index, item, [first, *itertools.islice(outcomes, count - 1)])
            if output.error is not None and self._on_error == "raise":
                raise output.error
            yield output

    def _prompts(self, waiting: deque[tuple[Any, int]]) -> Iterator[EnginePrompt]:
        """The prompts of all items; notes each item, and how many are its own."""
        for item in self._items:
            prompts = self._call.prompts(item)
            waiting.append((item, len(prompts)))
            yield from prompts

    def _in_order(self, prompts: Iterator[EnginePrompt]) -> Iterator[Outcome]:
        # An engine a call: calls from several threads share nothing but the compiled steps.
        engine = self._model.engine()
        done: dict[int, Outcome] = {}
        following = 0
        try:
            for outcome in self._outcomes(engine, prompts):
                done[outcome.index] = outcome
                while following in done:
                    yield done.pop(following)
                    following += 1
        finally:
            engine.close()

    def _outcomes(self, engine: Engine, prompts: Iterator[EnginePrompt]) -> Iterator[Outcome]:
        """Outcomes as they come. A window is dispatched whole before the next, so few results wait for their turn."""
        # Of equal requests the first is computed: its index -> those of the others.
        others: defaultdict[int, list[int]] = defaultdict(list)
        for requests in self._windows(prompts):
            same = first_equal(requests) if self._call.repeats else range(len(requests))
            for position, (request, first) in enumerate(zip(requests, same, strict=True)):
                if isinstance(request, PromptError):
                    yield Outcome(request.index or 0, [], None, request)
                elif first == position:
                    engine.add(request)
                else:
                    others[request.index - position + first].append(request.index)
            yield from _outcomes(engine.dispatch(), others)
        yield from _outcomes(engine.drain(), others)

    def _windows(self, prompts: Iterator[EnginePrompt]) -> Iterator[list[Request | PromptError]]:
        """Built windows, the next one in preparation; what fits in one is built here, without a thread."""
        window, first = list(itertools.islice(prompts, WINDOW)), 0
        if len(window) < WINDOW:
            yield self._builder.build(first, window)
            return
        with ThreadPoolExecutor(1, thread_name_prefix="jaxcls-tokenize") as pool:
            ahead: Future[list[Request | PromptError]] | None = None
            while window:
                building = pool.submit(self._builder.build, first, window)
                first += len(window)
                if ahead is not None:
                    yield ahead.result()
                ahead = building
                window = list(itertools.islice(prompts, WINDOW))
            if ahead is not None:
                yield ahead.result()


def _outcomes(finished: Iterable[Finished], others: dict[int, list[int]]) -> Iterator[Outcome]:
    """The outcomes of requests, and of those that are equal to them."""
    for one in finished:
        request = one.request
        for index in (request.index, *others.pop(request.index, ())):
            yield Outcome(index, request.tokens.token_ids, one, one.error)

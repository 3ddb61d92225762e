"""One kind of call: what becomes of an item that the caller gives, and of the rows that come back for it."""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeAlias

from jaxcls.engine.request import Finished, Outcome, Task
from jaxcls.errors import ConfigError, PromptError
from jaxcls.inputs.prompt import Prompt, TextPrompt, TokensPrompt
from jaxcls.inputs.tokenize_options import AS_GIVEN, TextParams
from jaxcls.outputs import OutputT, RequestOutput
from jaxcls.pooling_params import PoolingParams

EnginePrompt: TypeAlias = Prompt | TextPrompt | TokensPrompt | PromptError


@dataclasses.dataclass(frozen=True)
class PromptParams:
    """Parameters of a call.

    Attributes:
        pooling: one for all prompts, or one each.
        tokenization: `tokenization_kwargs`.
        texts: what the kind of call does with texts.
    """

    pooling: PoolingParams | Sequence[PoolingParams] | None = None
    tokenization: dict[str, Any] | None = None
    texts: TextParams = AS_GIVEN

    def check_count(self, num_prompts: int) -> None:
        """Raises ConfigError unless there are as many params as prompts, where they are a list."""
        if isinstance(self.pooling, Sequence) and len(self.pooling) != num_prompts:
            raise ConfigError(f"{num_prompts} prompts but {len(self.pooling)} pooling_params: give one, or one each")

    def at(self, index: int) -> PoolingParams:
        """The params of one prompt."""
        params = self.pooling[index] if isinstance(self.pooling, Sequence) else self.pooling
        if params is None:
            return PoolingParams()
        if not isinstance(params, PoolingParams):
            raise ConfigError(f"pooling_params must be PoolingParams, got {type(params).__name__}")
        return params


def alone(item: Any) -> tuple[Any]:
    """The prompts of an item that is one."""
    return (item,)


@dataclasses.dataclass(frozen=True)
class Call(Generic[OutputT]):
    """What `LLM` runs over lists and streams of items, and `AsyncLLM` among others' steps.

    An item becomes prompts, and the rows of these one output. It fails with the first of its prompts that does, and
    alone.

    Attributes:
        task: what is pooled.
        reduce: an item and the rows of all its prompts -> its output.
        expand: an item -> its prompts. A PromptError that it raises, or that stands for a prompt, is the item's.
        params: of the prompts.
        repeats: whether items may share prompts, so that equal ones are worth looking for: those that wait together are
            computed once.
    """

    task: Task
    reduce: Callable[[Any, Sequence[Finished]], OutputT]
    expand: Callable[[Any], Sequence[EnginePrompt]] = alone
    params: PromptParams = PromptParams()
    repeats: bool = False

    def prompts(self, item: Any) -> Sequence[EnginePrompt]:
        """What the engine runs for an item: one prompt at least, or the error that stands for it."""
        try:
            return self.expand(item) or (PromptError("there is nothing to score: the list is empty"),)
        except PromptError as error:
            return (error,)

    def output(self, index: int, item: Any, outcomes: Sequence[Outcome]) -> RequestOutput[OutputT]:
        """The result of item `index`, from the outcomes of its prompts."""
        ids = list(itertools.chain.from_iterable(outcome.token_ids for outcome in outcomes))
        error = next((outcome.error for outcome in outcomes if outcome.error is not None), None)
        if error is not None:
            return RequestOutput(str(index), None, ids, error_of(index, error))
        rows = [outcome.finished for outcome in outcomes if outcome.finished is not None]
        cached = sum(row.num_cached_tokens for row in rows)
        return RequestOutput(str(index), self.reduce(item, rows), ids, num_cached_tokens=cached)


def error_of(index: int, error: Exception) -> Exception:
    """The error of an item, whichever of its prompts had it."""
    return type(error)(error.message, index=index) if isinstance(error, PromptError) else error

"""One call of a front end: what the engine runs, and what becomes of its outcomes."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Generic

from jaxcls.engine.request import Outcome, Task
from jaxcls.errors import PromptError
from jaxcls.inputs.prompt import Prompt, TextPrompt, TokensPrompt
from jaxcls.outputs import OutputT, RequestOutput
from jaxcls.pooling_params import PoolingParams


@dataclasses.dataclass(frozen=True)
class Call(Generic[OutputT]):
    """What `LLM` runs now and `AsyncLLM` among others' steps.

    Attributes:
        task: what is pooled.
        prompts: for the engine; what cannot be one is its error.
        finish: the outcomes of all prompts, in their order -> results in the order of the caller's input.
        params: of all prompts, or one each.
        tokenization: `tokenization_kwargs`.
    """

    task: Task
    prompts: Sequence[Prompt | TextPrompt | TokensPrompt | PromptError]
    finish: Callable[[list[Outcome]], list[RequestOutput[OutputT]]]
    params: PoolingParams | Sequence[PoolingParams] | None = None
    tokenization: dict[str, Any] | None = None

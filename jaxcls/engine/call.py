"""One call of a front end: what the engine runs, and what becomes of its outcomes."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Generic

from jaxcls.engine.request import Outcome, Task
from jaxcls.inputs.prompt import Prompt
from jaxcls.outputs import OutputT, RequestOutput
from jaxcls.pooling_params import PoolingParams


@dataclasses.dataclass(frozen=True)
class Call(Generic[OutputT]):
    """What `LLM` runs now and `AsyncLLM` among others' steps.

    Attributes:
        task: what is pooled.
        prompts: for the engine; there may be none.
        finish: the outcomes of all prompts, in their order -> results in the order of the caller's input.
        params: of all prompts.
        tokenization: `tokenization_kwargs`.
    """

    task: Task
    prompts: Sequence[Prompt]
    finish: Callable[[list[Outcome]], list[RequestOutput[OutputT]]]
    params: PoolingParams | None = None
    tokenization: dict[str, Any] | None = None

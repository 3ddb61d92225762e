"""One sequence on its way through the engine."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np

from jaxcls.errors import PromptError
from jaxcls.inputs.prompt import TokensPrompt

Task = Literal["classify", "token_classify", "embed", "token_embed"]
# Those that give a row a token.
TOKEN_TASKS: tuple[Task, ...] = ("token_classify", "token_embed")


@dataclasses.dataclass(frozen=True, eq=False)
class Request:
    """A tokenised prompt.

    Attributes:
        index: position in the caller's input.
        tokens: validated ids.
        use_activation: whether probs are activated.
        task: what is pooled.
        dimensions: how many of an embedding's are given; None: all.
        order: smaller runs earlier; equal ones run longest first.
    """

    index: int
    tokens: TokensPrompt
    use_activation: bool
    task: Task = "classify"
    dimensions: int | None = None
    order: int = 0

    @property
    def num_tokens(self) -> int:
        """Length of the sequence."""
        return len(self.tokens.token_ids)

    @property
    def key(self) -> tuple[object, ...]:
        """What decides its rows."""
        types, tokens = self.tokens.token_type_ids, self.tokens
        kind = (tokens.num_unseen, self.use_activation, self.task, self.dimensions)
        return (tuple(tokens.token_ids), None if types is None else tuple(types), *kind)

    def ordered(self, order: int) -> "Request":
        """The same request under another order."""
        return dataclasses.replace(self, order=order)


def first_equal(requests: Sequence[Request | PromptError]) -> list[int]:
    """For each, the position of the first that has the same rows: mostly its own."""
    known: dict[tuple[object, ...], int] = {}
    return [
        position if isinstance(request, PromptError) else known.setdefault(request.key, position)
        for position, request in enumerate(requests)
    ]


@dataclasses.dataclass(frozen=True, eq=False)
class Finished:
    """A request and its rows: float32 [C], or [tokens, C] for token tasks; `error` if they are not finite."""

    request: Request
    probs: np.ndarray
    logits: np.ndarray
    error: Exception | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Outcome:
    """What became of one prompt: rows, or an error."""

    index: int
    token_ids: list[int]
    finished: Finished | None
    error: Exception | None

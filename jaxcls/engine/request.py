"""One sequence on its way through the engine."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np

from jaxcls.errors import PromptError
from jaxcls.inputs.prompt import TokensPrompt

Task = Literal["classify", "token_classify", "embed", "token_embed"]
Order = tuple[int, int]
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
        order: priority and arrival: smaller runs earlier; equal ones run longest first.
        pageable: whether its keys and values may lie in pages: it can be computed in parts.
        scored: the position of the one token that is scored, where it alone is; what follows it changes nothing.
        page_hashes: names of its leading pages that hold nothing but tokens before the scored one.
    """

    index: int
    tokens: TokensPrompt
    use_activation: bool
    task: Task = "classify"
    dimensions: int | None = None
    order: Order = (0, 0)
    pageable: bool = False
    scored: int | None = None
    page_hashes: tuple[bytes, ...] = ()

    @property
    def num_needed(self) -> int:
        """Tokens that have to be computed or reused."""
        return self.num_tokens if self.scored is None else self.scored + 1

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

    def ordered(self, order: Order) -> "Request":
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
    """A request and its rows.

    Attributes:
        request: which.
        probs: float32 [C], or [tokens, C] for token tasks.
        logits: the same shape.
        error: if they are not finite.
        num_cached_tokens: tokens that were not computed for it.
        planned: when its step was put together, and `done` when its rows were there, of `time.perf_counter`.
    """

    request: Request
    probs: np.ndarray
    logits: np.ndarray
    error: Exception | None = None
    num_cached_tokens: int = 0
    planned: float = 0.0
    done: float = 0.0


@dataclasses.dataclass(frozen=True, eq=False)
class Outcome:
    """What became of one prompt: rows, or an error."""

    index: int
    token_ids: list[int]
    finished: Finished | None
    error: Exception | None

"""Queries and documents as they are given, and documents in the order of their scores. No jax here."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from jaxcls.errors import ConfigError, PromptError
from jaxcls.inputs.chat import text_part
from jaxcls.outputs import RerankResult

ScoreInput: TypeAlias = str | Mapping[str, Any]
Pair: TypeAlias = tuple[ScoreInput, ScoreInput]


def score_pairs(data_1: Any, data_2: Any) -> list[Pair]:
    """1 and 1, 1 and N, or N and N inputs -> pairs.

    Raises:
        PromptError: none, or numbers that do not fit.
    """
    first, second = inputs(data_1, "data_1"), inputs(data_2, "data_2")
    if len(first) == 1:
        first *= len(second)
    if len(first) != len(second):
        raise PromptError(
            f"{len(first)} and {len(second)} inputs make no pairs: give one and one, one and many, or as many of each"
        )
    return list(zip(first, second, strict=True))


def inputs(data: Any, name: str) -> list[ScoreInput]:
    """One input or many -> many. Raises PromptError if there is none."""
    items = [data] if isinstance(data, str | Mapping) else list(data)
    if not items:
        raise PromptError(f"{name} is empty: give one text at least")
    return items


def text_of(item: ScoreInput) -> str:
    """A text in any of its forms: a string, {"text": ...}, or {"content": text or text parts} as in chats.

    Raises:
        PromptError: another form, or a part that is no text.
    """
    content = item
    if isinstance(item, Mapping) and len(item) == 1:
        content = item.get("text", item.get("content"))
    if isinstance(content, list):
        content = "".join(map(text_part, content))
    if not isinstance(content, str):
        raise PromptError(f'a query or document is a string, {{"text": ...}} or {{"content": ...}}; got {item!r}'[:300])
    return content


@dataclasses.dataclass(frozen=True)
class Ranking:
    """How documents are ranked.

    Attributes:
        top_n: at most so many; None: all.
        score_threshold: only those that score at least this.
        return_documents: whether the results hold the texts.
    """

    top_n: int | None = None
    score_threshold: float | None = None
    return_documents: bool = True

    def __post_init__(self) -> None:
        top_n = self.top_n
        if top_n is not None and (isinstance(top_n, bool) or not isinstance(top_n, int) or top_n < 1):
            raise ConfigError(f"top_n must be at least 1, got {top_n!r}")

    def of(self, scores: Sequence[float | Exception], documents: Sequence[ScoreInput]) -> list[RerankResult]:
        """Scored documents, the best first, equal ones in their order; after them those that failed.

        Args:
            scores: one a document, or why it has none.
            documents: in the same order.
        """
        scored: list[RerankResult] = []
        failed: list[RerankResult] = []
        for index, (score, document) in enumerate(zip(scores, documents, strict=True)):
            if isinstance(score, Exception):
                failed.append(RerankResult(index, None, error=score))
            elif self.score_threshold is None or score >= self.score_threshold:
                scored.append(RerankResult(index, score, text_of(document) if self.return_documents else None))
        scored.sort(key=lambda result: -(result.score or 0.0))
        return [*scored[: self.top_n], *failed]

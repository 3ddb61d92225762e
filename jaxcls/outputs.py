"""What users get back. Plain Python and numpy; nothing lives on a device."""

import dataclasses
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from jaxcls.config.labels import Labels
from jaxcls.errors import JaxclsError

OutputT = TypeVar("OutputT")


class LabelScore(NamedTuple):
    """A class and its score."""

    label: str
    score: float


@dataclasses.dataclass(frozen=True)
class ClassificationOutput:
    """Scores of one prompt.

    Attributes:
        probs: C scores after the activation; the logits themselves when the request said `use_activation=False`.
        logits: C calibrated logits, before the activation.
        exclusive: whether the classes compete (softmax over at least two), so that one of them is *the* label.
    """

    probs: list[float]
    logits: list[float]
    exclusive: bool
    names: tuple[str, ...] = dataclasses.field(repr=False)

    @property
    def num_classes(self) -> int:
        """Number of classes C."""
        return len(self.probs)

    @property
    def label(self) -> str | None:
        """The most likely class.

        None where classes do not compete (multi-label, regression, one label): an argmax would look like an answer
        there. `labels(threshold=...)` or the logits are.
        """
        return self.names[int(np.argmax(self.logits))] if self.exclusive else None

    def labels(self, *, top_k: int | None = None, threshold: float | None = None) -> list[LabelScore]:
        """Classes with their probs, best first.

        Args:
            top_k: at most so many.
            threshold: only those whose prob is at least this.

        Raises:
            ValueError: top_k below 1.
        """
        if top_k is not None and top_k < 1:
            raise ValueError(f"top_k must be at least 1, got {top_k}")
        ranked = sorted(zip(self.names, self.probs, strict=True), key=lambda pair: -pair[1])
        kept = [LabelScore(*pair) for pair in ranked if threshold is None or pair[1] >= threshold]
        return kept[:top_k]


@dataclasses.dataclass(frozen=True)
class PoolingOutput:
    """Raw pooled data.

    Attributes:
        data: float32, [C] for "classify", [tokens, C] for "token_classify"; of process reward models [steps, C]; the
            embedding [D] for "embed", [tokens, D] for "token_embed".
        logits: the same shape, before the activation; of embeddings, before they were given length 1.
    """

    data: np.ndarray
    logits: np.ndarray


@dataclasses.dataclass(frozen=True)
class EmbeddingOutput:
    """The embedding of one prompt.

    Attributes:
        embedding: float32 [D].
    """

    embedding: np.ndarray

    @property
    def hidden_size(self) -> int:
        """D."""
        return len(self.embedding)


@dataclasses.dataclass(frozen=True)
class TokenEmbeddingOutput:
    """The embeddings of one prompt's tokens.

    Attributes:
        embeddings: float32 [tokens, D].
        token_ids: the token of each row.
    """

    embeddings: np.ndarray
    token_ids: list[int]


@dataclasses.dataclass(frozen=True)
class Span:
    """A piece of the text and its label.

    Attributes:
        label: the class; without its "B-" or "I-" where tokens have been aggregated.
        score: its score; of several tokens or words the mean.
        start: where the span begins in the text, in characters; `end` where it ends.
        word: the span's tokens as text.
        index: the token's position in the sequence; None where tokens have been aggregated.
    """

    label: str
    score: float
    start: int
    end: int
    word: str
    index: int | None = None


@dataclasses.dataclass(frozen=True)
class TokenClassificationOutput:
    """Labelled spans of one text, in its order."""

    spans: list[Span]


@dataclasses.dataclass(frozen=True)
class ZeroShotOutput:
    """Labels of the caller's choice with their scores, best first."""

    labels: list[str]
    scores: list[float]

    @property
    def label(self) -> str:
        """The best."""
        return self.labels[0]


@dataclasses.dataclass(frozen=True)
class RewardOutput:
    """Rewards of one prompt.

    Attributes:
        data: float32, [C]; of a process reward model [steps, C].
        names: of the C classes.
        good: which of them says that a step is good.
    """

    data: np.ndarray
    names: tuple[str, ...] = dataclasses.field(repr=False)
    good: int = dataclasses.field(repr=False)

    @property
    def reward(self) -> float:
        """The one number of a reward model.

        Raises:
            ValueError: it gives several, or one a step.
        """
        if self.data.shape != (1,):
            raise ValueError(f"this model gives rewards of shape {self.data.shape}, not one: see data, or steps")
        return float(self.data[0])

    @property
    def steps(self) -> list[float]:
        """How good each step is, by a process reward model.

        Raises:
            ValueError: it rewards the whole.
        """
        if self.data.ndim != 2:
            raise ValueError("this model rewards the whole, not its steps: see reward, or data")
        return self.data[:, self.good].tolist()


@dataclasses.dataclass(frozen=True)
class ScoringOutput:
    """How well a pair of texts fits.

    Attributes:
        score: after the activation; the logit itself when the request said `use_activation=False`.
        logit: calibrated, before the activation.
    """

    score: float
    logit: float


@dataclasses.dataclass(frozen=True)
class RerankResult:
    """One document among those of its query.

    Attributes:
        index: its position in the caller's list.
        score: how well it answers the query; None if it failed.
        document: its text, if asked for.
        error: why it failed (only with `on_error="return"`).
    """

    index: int
    score: float | None
    document: str | None = None
    error: Exception | None = None


@dataclasses.dataclass(frozen=True)
class Timings:
    """Where the time of a prompt went, in seconds.

    Attributes:
        tokenize: preparing all prompts of its call.
        queue: waiting for a step.
        compute: in it, until its rows were on the host.
    """

    tokenize: float
    queue: float
    compute: float


@dataclasses.dataclass(frozen=True)
class RequestOutput(Generic[OutputT]):
    """One prompt's result: either `outputs` or `error`.

    Attributes:
        request_id: "0", "1", ... in input order.
        outputs: the scores; None if the prompt failed, so that nothing can pass for a score.
        prompt_token_ids: what the model was given, after truncation.
        error: why the prompt failed (only with `on_error="return"`).
        num_cached_tokens: tokens whose computation was reused.
        finished: always True; nothing is streamed.
        timings: where the time went; None for calls of `LLM`, whose prompts share windows.
    """

    request_id: str
    outputs: OutputT | None
    prompt_token_ids: list[int]
    error: Exception | None = None
    num_cached_tokens: int = 0
    finished: bool = True
    timings: Timings | None = dataclasses.field(default=None, compare=False, repr=False)


ClassificationRequestOutput = RequestOutput[ClassificationOutput]
PoolingRequestOutput = RequestOutput[PoolingOutput]
EmbeddingRequestOutput = RequestOutput[EmbeddingOutput]
TokenEmbeddingRequestOutput = RequestOutput[TokenEmbeddingOutput]
TokenClassificationRequestOutput = RequestOutput[TokenClassificationOutput]
ZeroShotRequestOutput = RequestOutput[ZeroShotOutput]
RewardRequestOutput = RequestOutput[RewardOutput]
ScoringRequestOutput = RequestOutput[ScoringOutput]


def classification_output(
    probs: np.ndarray, logits: np.ndarray, labels: Labels, *, exclusive: bool
) -> ClassificationOutput:
    """A ClassificationOutput from rows [C].

    Raises:
        JaxclsError: the rows do not have one score a label.
    """
    if probs.shape != (len(labels.names),):
        raise JaxclsError(f"{len(labels.names)} labels, but scores of shape {probs.shape}")
    return ClassificationOutput(probs.tolist(), logits.tolist(), exclusive, labels.names)

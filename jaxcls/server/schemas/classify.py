"""/classify."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Discriminator, Field, Tag

from jaxcls.server.schemas.common import FORMS, Chat, Completion, PoolingRequest, Strict, TimingsBody, Usage, form


class _Classify(PoolingRequest):
    use_activation: Annotated[
        bool | None, Field(description="false: logits in the place of probabilities; null: the model's default.")
    ] = None
    top_k: Annotated[int | None, Field(ge=1, description="Add labels, the best so many.")] = None
    threshold: Annotated[float | None, Field(description="Add labels, those whose probability is at least this.")] = (
        None
    )
    return_logits: Annotated[bool, Field(description="Add the logits.")] = False
    return_timings: Annotated[bool, Field(description="Add where the time went.")] = False


class ClassifyCompletionRequest(_Classify, Completion):
    """Texts, pairs or token ids to classify."""


class ClassifyChatRequest(_Classify, Chat):
    """A conversation to classify."""


class InfinityRequest(Strict):
    """Infinity's body, known by `raw_scores`: texts that are cut where they are too long."""

    input: Annotated[list[str], Field(min_length=1)]
    model: str | None = None
    raw_scores: bool = False


class LabelBody(BaseModel):
    """A class and its score."""

    label: str
    score: float


class ClassifyData(BaseModel):
    """One item's result.

    Attributes:
        index: its position in the input.
        label: the most likely class; null where classes do not exclude each other.
        probs: of all classes.
        num_classes: how many.
        labels: the best, of `top_k` and `threshold`; of models whose classes do not exclude each other those from 0.5.
        logits: with `return_logits`.
        timings: with `return_timings`.
    """

    index: int
    label: str | None
    probs: list[float]
    num_classes: int
    labels: list[LabelBody] | None = None
    logits: list[float] | None = None
    timings: TimingsBody | None = None


class ClassifyResponse(BaseModel):
    """Results in the order of the input."""

    id: str
    object: str = "list"
    created: int
    model: str
    data: list[ClassifyData]
    usage: Usage


class InfinityResponse(BaseModel):
    """All labels of each text, the best first."""

    object: Literal["classify"] = "classify"
    data: list[list[LabelBody]]
    model: str
    usage: Usage
    id: str
    created: int


def _form(value: Any) -> str:
    infinity = "raw_scores" in value if isinstance(value, Mapping) else isinstance(value, InfinityRequest)
    return "infinity" if infinity else form(value)


ClassifyRequest = Annotated[
    Annotated[ClassifyCompletionRequest, Tag("completion")]
    | Annotated[ClassifyChatRequest, Tag("chat")]
    | Annotated[InfinityRequest, Tag("infinity")],
    Discriminator(_form),
]
CLASSIFY_FORMS = FORMS | {"infinity"}

"""/score and /rerank, with the forms of other servers."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, Discriminator, Field, Tag, model_validator

from jaxcls.server.schemas.common import PoolingRequest, Strict, TextPart, TimingsBody, Usage


class TextDocument(Strict):
    """A text as Cohere's and Jina's clients send it."""

    text: str


class ContentDocument(Strict):
    """A text as in chats."""

    content: str | list[TextPart]


Text = str | TextDocument | ContentDocument
Texts = Text | Annotated[list[Text], Field(min_length=1)]


class _Scoring(PoolingRequest):
    use_activation: Annotated[bool | None, Field(description="false: logits.")] = None
    max_tokens_per_query: Annotated[int, Field(ge=0, description="Cut queries to so many tokens; 0: do not.")] = 0
    max_tokens_per_doc: Annotated[int, Field(ge=0, description="Cut documents to so many tokens; 0: do not.")] = 0
    instruction: Annotated[str | None, Field(description="What is searched for, for prompts with a place for it.")] = (
        None
    )
    chat_template_kwargs: Annotated[dict[str, Any] | None, Field(description="What else the template reads.")] = None
    label: Annotated[
        str | int | None, Field(description="Of a model with several classes, the one whose score it is.")
    ] = None
    return_timings: Annotated[bool, Field(description="Add where the time went.")] = False

    def options(self) -> dict[str, Any]:
        """The options of `LLM.score`."""
        return {
            "label": self.label,
            "instruction": self.instruction,
            "chat_template_kwargs": self.chat_template_kwargs,
            "max_tokens_per_query": self.max_tokens_per_query,
            "max_tokens_per_doc": self.max_tokens_per_doc,
        }


_FIRST, _SECOND = ("queries", "data_1", "text_1"), ("documents", "items", "data_2", "text_2")
_PAIRS = {("queries", "documents"), ("queries", "items"), ("data_1", "data_2"), ("text_1", "text_2")}


class ScoreRequest(_Scoring):
    """Pairs to score, one and one, one and many, or as many of each."""

    queries: Annotated[Texts, Field(validation_alias=AliasChoices(*_FIRST))]
    documents: Annotated[Texts, Field(validation_alias=AliasChoices(*_SECOND))]
    return_logits: Annotated[bool, Field(description="Add the logits.")] = False

    @model_validator(mode="before")
    @classmethod
    def _one_spelling(cls, values: Any) -> Any:
        if isinstance(values, Mapping):
            given = tuple(name for name in (*_FIRST, *_SECOND) if name in values)
            if given not in _PAIRS:
                raise ValueError(
                    "give queries and documents, queries and items, data_1 and data_2, or text_1 and text_2; there "
                    f"{'are ' + ', '.join(given) if given else 'is none of them'}"
                )
        return values


class ScoreData(BaseModel):
    """One pair's score."""

    index: int
    object: Literal["score"] = "score"
    score: float
    logit: float | None = None
    timings: TimingsBody | None = None


class ScoreResponse(BaseModel):
    """Results in the order of the pairs."""

    id: str
    object: Literal["list"] = "list"
    created: int
    model: str
    data: list[ScoreData]
    usage: Usage


class RerankRequest(_Scoring):
    """A query, and the documents to rank by how well they answer it."""

    query: Text
    documents: Texts
    top_n: Annotated[int | None, Field(ge=0, description="At most so many; 0 and null: all.")] = None
    return_documents: Annotated[bool, Field(description="Whether results hold the documents.")] = True
    score_threshold: Annotated[float | None, Field(description="Only those that score at least this.")] = None


class TeiRerankRequest(Strict):
    """TEI's body, known by `texts`."""

    query: str
    texts: Annotated[list[str], Field(min_length=1)]
    truncate: bool = False
    truncation_direction: Literal["Left", "Right", "left", "right"] = "Right"
    raw_scores: bool = False
    return_text: bool = False


def _form(value: Any) -> str:
    tei = "texts" in value if isinstance(value, Mapping) else isinstance(value, TeiRerankRequest)
    return "tei" if tei else "rerank"


RerankBody = Annotated[
    Annotated[RerankRequest, Tag("rerank")] | Annotated[TeiRerankRequest, Tag("tei")], Discriminator(_form)
]
RERANK_FORMS = frozenset(("rerank", "tei"))


class RankedDocument(BaseModel):
    """A document; `multi_modal` is null: documents are texts."""

    text: str
    multi_modal: None = None


class RerankData(BaseModel):
    """A document's position in the request, itself if asked for, and its score."""

    index: int
    document: RankedDocument | None = None
    relevance_score: float


class RerankUsage(BaseModel):
    """Tokens that were read."""

    prompt_tokens: int
    total_tokens: int


class RerankResponse(BaseModel):
    """Documents, the best first."""

    id: str
    model: str
    usage: RerankUsage
    results: list[RerankData]
    timings: TimingsBody | None = None


class TeiRank(BaseModel):
    """A text's position in the request, itself if asked for, and its score."""

    index: int
    text: str | None = None
    score: float

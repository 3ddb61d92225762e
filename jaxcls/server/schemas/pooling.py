"""/pooling and /v1/embeddings."""

from typing import Annotated, Literal

from pydantic import BaseModel, Discriminator, Field, Tag

from jaxcls.server.schemas.common import Chat, Completion, PoolingRequest, TimingsBody, Usage, form

Task = Literal["classify", "token_classify", "embed", "token_embed"]
Encoding = Literal["float", "base64", "bytes", "bytes_only"]
NumberType = Literal["float32", "float16", "bfloat16", "fp8_e4m3", "fp8_e5m2"]
Endianness = Literal["native", "big", "little"]


class _Vectors(PoolingRequest):
    encoding_format: Annotated[
        Encoding,
        Field(
            description="float: lists; base64: of the numbers' bytes; bytes: as the body; bytes_only: without metadata."
        ),
    ] = "float"
    embed_dtype: Annotated[NumberType, Field(description="Of the numbers, where they are bytes.")] = "float32"
    endianness: Annotated[Endianness, Field(description="Of the numbers, where they are bytes.")] = "native"
    use_activation: Annotated[bool | None, Field(description="false: before the activation.")] = None
    dimensions: Annotated[int | None, Field(ge=1, description="Of an embedding, keep the first so many.")] = None
    return_timings: Annotated[bool, Field(description="Add where the time went.")] = False


class _Pooling(_Vectors):
    task: Annotated[Task | None, Field(description="What is pooled; null: what the model is for.")] = None


class PoolingCompletionRequest(_Pooling, Completion):
    """Texts, pairs or token ids to pool."""


class PoolingChatRequest(_Pooling, Chat):
    """A conversation to pool."""


PoolingBody = Annotated[
    Annotated[PoolingCompletionRequest, Tag("completion")] | Annotated[PoolingChatRequest, Tag("chat")],
    Discriminator(form),
]


class PoolingData(BaseModel):
    """One item's numbers: a list, a list a token, or base64."""

    index: int
    object: Literal["pooling"] = "pooling"
    data: list[float] | list[list[float]] | str
    timings: TimingsBody | None = None


class PoolingResponse(BaseModel):
    """Results in the order of the input."""

    id: str
    object: Literal["list"] = "list"
    created: int
    model: str
    data: list[PoolingData]
    usage: Usage


class EmbeddingsCompletionRequest(_Vectors, Completion):
    """Texts or token ids to embed."""

    prompt_name: Annotated[
        str | None, Field(description="Which of the model's prompts goes before each text: query, document ...")
    ] = None


class EmbeddingsChatRequest(_Vectors, Chat):
    """A conversation to embed."""


EmbeddingsBody = Annotated[
    Annotated[EmbeddingsCompletionRequest, Tag("completion")] | Annotated[EmbeddingsChatRequest, Tag("chat")],
    Discriminator(form),
]


class EmbeddingData(BaseModel):
    """One item's embedding: a list, or base64."""

    index: int
    object: Literal["embedding"] = "embedding"
    embedding: list[float] | str
    timings: TimingsBody | None = None


class EmbeddingsResponse(BaseModel):
    """Results in the order of the input."""

    id: str
    object: Literal["list"] = "list"
    created: int
    model: str
    data: list[EmbeddingData]
    usage: Usage

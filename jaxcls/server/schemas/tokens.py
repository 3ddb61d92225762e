"""/tokenize and /detokenize."""

from typing import Annotated

from pydantic import BaseModel, Discriminator, Field, Tag

from jaxcls.server.schemas.common import FORMS, Chat, Strict, form


class _Tokenize(Strict):
    model: str | None = None
    return_token_strs: Annotated[bool, Field(description="Add the tokens as texts.")] = False


class TokenizeCompletionRequest(_Tokenize):
    """A text to tokenise."""

    prompt: str
    add_special_tokens: bool = True


class TokenizeChatRequest(_Tokenize, Chat):
    """A conversation to render and tokenise."""

    # As in vLLM: here a prompt ends with the beginning of an answer unless told otherwise.
    add_generation_prompt: bool = True


TokenizeBody = Annotated[
    Annotated[TokenizeCompletionRequest, Tag("completion")] | Annotated[TokenizeChatRequest, Tag("chat")],
    Discriminator(form),
]
TOKENIZE_FORMS = FORMS


class TokenizeResponse(BaseModel):
    """Tokens, all of them, however many the model takes."""

    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None = None


class DetokenizeRequest(Strict):
    """Tokens to make a text of."""

    model: str | None = None
    tokens: list[Annotated[int, Field(ge=0)]]


class DetokenizeResponse(BaseModel):
    """A text."""

    prompt: str

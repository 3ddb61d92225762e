"""What the requests of several APIs share."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from jaxcls.errors import PromptError
from jaxcls.inputs.prompt import TextPrompt, TokensPrompt, parse_prompt
from jaxcls.pooling_params import PoolingParams

_HINTS = {
    "normalize": "was removed; use use_activation instead",
    "softmax": "was removed; use use_activation instead",
    "activation": "was removed; use use_activation instead",
}


class Strict(BaseModel):
    """Unknown fields and values of another type are errors."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _hints(cls, values: Any) -> Any:
        if isinstance(values, Mapping):
            for name, hint in _HINTS.items():
                if name in values and name not in cls.model_fields:
                    raise ValueError(f"{name} {hint}")
        return values


def _no_padding(value: Any) -> Any:
    if value == "max_length":
        raise ValueError("sequences are packed, so that no score depends on padding; leave it out")
    return value


def _text_only(value: Any) -> Any:
    if value:
        raise ValueError("this model takes texts, not images, videos or sound; leave it out")
    return None


TextOnly = Annotated[
    None,
    BeforeValidator(_text_only),
    WithJsonSchema({"type": "null", "description": "For other media than text, which this model does not take."}),
]


class PoolingRequest(Strict):
    """Fields of every request that runs the model."""

    model: Annotated[
        str | None, Field(description="The name of the served model; null or empty: the one there is.")
    ] = None
    user: Annotated[str | None, Field(description="Whom the request is for; written to the log of requests.")] = None
    truncate_prompt_tokens: Annotated[
        int | None, Field(ge=-1, description="Keep at most so many tokens; -1: as many as the model takes.")
    ] = None
    truncation_side: Annotated[
        Literal["left", "right"] | None, Field(description="The end of the text that is cut.")
    ] = None
    padding: Annotated[Literal["do_not_pad"] | None, BeforeValidator(_no_padding)] = None
    request_id: Annotated[
        str | None, Field(min_length=1, description="The answer's id; the header X-Request-Id goes before it.")
    ] = None
    priority: Annotated[
        int,
        Field(ge=-(2**63), le=2**63 - 1, description="Smaller is earlier; other than 0 only with priority scheduling."),
    ] = 0
    cache_salt: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=128,
            pattern=r"^[^@/\\\x00]+$",
            description="Requests share what is kept of their prompts only with those of the same salt.",
        ),
    ] = None
    mm_processor_kwargs: TextOnly = None

    def pooling(self, **more: Any) -> PoolingParams:
        """The parameters that it asks for, and `more`."""
        return PoolingParams(cache_salt=self.cache_salt, priority=self.priority, **more)

    def tokenization(self) -> dict[str, Any]:
        """The `tokenization_kwargs` that it asks for."""
        given = {"truncate_prompt_tokens": self.truncate_prompt_tokens, "truncation_side": self.truncation_side}
        return {name: value for name, value in given.items() if value is not None}


_IDS = {"type": "array", "items": {"type": "integer"}, "minItems": 1}
_ITEM = {
    "anyOf": [
        {"type": "string"},
        {
            "type": "object",
            "properties": {"text": {"type": "string"}, "text_pair": {"type": "string"}},
            "required": ["text"],
            "additionalProperties": False,
        },
        {
            "type": "object",
            "properties": {"prompt_token_ids": _IDS, "token_type_ids": _IDS},
            "required": ["prompt_token_ids"],
            "additionalProperties": False,
        },
        _IDS,
    ]
}


def read_input(value: Any) -> list[TextPrompt | TokensPrompt]:
    """`input`: a text, a pair, token ids, or a list of such.

    Raises:
        ValueError: anything else; it says which item.
    """
    single = isinstance(value, str | dict) or (isinstance(value, list) and bool(value) and _is_number(value[0]))
    if single:
        value = [value]
    if not isinstance(value, list):
        raise ValueError("a text, a list of token ids, an object with text and text_pair, or a list of such")
    if not value:
        raise ValueError("the list is empty: there is nothing to do")
    prompts: list[TextPrompt | TokensPrompt] = []
    for index, item in enumerate(value):
        try:
            prompts.append(parse_prompt(item))
        except PromptError as error:
            raise ValueError(error.message if single else f"item {index}: {error.message}") from None
    return prompts


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


Input = Annotated[
    list[Any],  # what `read_input` gives
    BeforeValidator(read_input),
    WithJsonSchema({"anyOf": [*_ITEM["anyOf"], {"type": "array", "items": _ITEM, "minItems": 1}]}),
]


class Completion(Strict):
    """The form with texts, pairs or token ids."""

    input: Input
    add_special_tokens: Annotated[bool, Field(description="Whether [CLS], <s> and the like are added.")] = True


class TextPart(Strict):
    """A part of a message."""

    type: Literal["text"]
    text: str


class Message(BaseModel):
    """What somebody says. A template may read other fields too."""

    model_config = ConfigDict(extra="allow", strict=True)

    role: str
    content: str | list[TextPart]


class Chat(Strict):
    """The form with one conversation, which the model's chat template renders."""

    messages: Annotated[list[Message], Field(min_length=1)]
    add_generation_prompt: Annotated[bool, Field(description="End with the beginning of an answer.")] = False
    continue_final_message: Annotated[bool, Field(description="End with the last message's text.")] = False
    add_special_tokens: Annotated[bool, Field(description="Add the tokenizer's to those of the template.")] = False
    chat_template: Annotated[
        str | None, Field(description="Jinja instead of the model's; only if the server trusts its clients with that.")
    ] = None
    chat_template_kwargs: Annotated[dict[str, Any] | None, Field(description="What else the template reads.")] = None
    media_io_kwargs: TextOnly = None


def form(value: Any) -> Literal["completion", "chat"]:
    """Which of the two forms a body has."""
    chat = "messages" in value if isinstance(value, Mapping) else isinstance(value, Chat)
    return "chat" if chat else "completion"


FORMS = frozenset(("completion", "chat"))


class Usage(BaseModel):
    """Tokens that were read."""

    prompt_tokens: int
    total_tokens: int
    completion_tokens: int = 0
    prompt_tokens_details: None = None


class TimingsBody(BaseModel):
    """Where the time went, in milliseconds: preparing the texts, waiting for a step, and in it."""

    tokenize_ms: float
    queue_ms: float
    compute_ms: float

"""The forms of a prompt, brought to one."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from jaxcls.errors import PromptError

if TYPE_CHECKING:
    from jaxcls.inputs.template import Template

Prompt: TypeAlias = str | list[int] | tuple[str, str] | dict[str, Any]

_FORMS = (
    "a string, a pair (text, text_pair), a list of token ids, or a dict with 'prompt', with 'prompt_token_ids' "
    "(and 'token_type_ids'), or with 'text' and 'text_pair'"
)


@dataclasses.dataclass(frozen=True)
class TextPrompt:
    """Text to be tokenised, alone or as a pair.

    Attributes:
        text: the text.
        text_pair: the second of a pair.
        located: whether it becomes known where in the text each token is.
        template: what this text is put into, instead of what texts of the model and of the call are; it says itself
            whether special tokens are added.
    """

    text: str
    text_pair: str | None = None
    located: bool = False
    template: "Template | None" = None

    def __post_init__(self) -> None:
        for text in (self.text, self.text_pair):
            if text is not None and not text.isascii():
                try:
                    text.encode("utf-8")
                except UnicodeEncodeError as error:
                    raise PromptError(f"the text is not valid Unicode: {error.reason} at {error.start}") from None


@dataclasses.dataclass(frozen=True)
class TokensPrompt:
    """Token ids, special tokens included, with their segment types (0 or 1 for pairs).

    The last `num_unseen` of them see the others and are seen by none (the expansion of ColBERT's queries).
    """

    token_ids: list[int]
    token_type_ids: list[int] | None = None
    num_unseen: int = 0


def prompt_list(prompts: Any) -> list[Any]:
    """One prompt or many -> many. A flat list of integers is one prompt, a tuple of two strings one pair.

    Raises:
        PromptError: an empty list, or something that is no list at all.
    """
    if isinstance(prompts, str | dict | tuple) or (isinstance(prompts, Sequence) and _is_ids(prompts)):
        return [prompts]
    if not isinstance(prompts, Iterable):
        raise PromptError(f"prompts are a list of prompts, or one: {_FORMS}; got {_short(prompts)}")
    prompts = list(prompts)
    if not prompts:
        raise PromptError("there are no prompts: the list is empty")
    return prompts


def parse_prompt(prompt: Any) -> TextPrompt | TokensPrompt:
    """One prompt in any of its forms.

    Raises:
        PromptError: none of the forms, or a form with missing, unknown or ill-typed parts.
    """
    if isinstance(prompt, TextPrompt | TokensPrompt):
        return prompt
    if isinstance(prompt, str):
        return TextPrompt(prompt)
    if isinstance(prompt, tuple):
        if len(prompt) == 2 and all(isinstance(part, str) for part in prompt):
            return TextPrompt(*prompt)
        raise PromptError(f"a tuple is a pair of two strings (text, text_pair); got {_short(prompt)}")
    if isinstance(prompt, dict):
        return _parse_dict(prompt)
    if isinstance(prompt, Sequence):
        return TokensPrompt(_ids(prompt, "token ids"))
    raise PromptError(f"a prompt is {_FORMS}; got {_short(prompt)}")


def _parse_dict(prompt: dict[str, Any]) -> TextPrompt | TokensPrompt:
    keys = set(prompt)
    if "prompt_token_ids" in keys and keys <= {"prompt_token_ids", "token_type_ids", "prompt"}:
        token_ids = _ids(prompt["prompt_token_ids"], "prompt_token_ids")
        types = prompt.get("token_type_ids")
        if types is not None:
            types = _ids(types, "token_type_ids")
            if len(types) != len(token_ids):
                raise PromptError(f"{len(token_ids)} prompt_token_ids but {len(types)} token_type_ids")
        return TokensPrompt(token_ids, types)
    for form in ({"prompt"}, {"text"}, {"text", "text_pair"}):
        if keys == form:
            texts = [prompt[key] for key in sorted(form)]
            if all(isinstance(text, str) for text in texts):
                return TextPrompt(*texts)
            raise PromptError(f"{' and '.join(sorted(form))} must be strings; got {_short(prompt)}")
    raise PromptError(f"a prompt is {_FORMS}; got a dict with keys {sorted(map(str, keys))}")


def _is_ids(values: Any) -> bool:
    return len(values) > 0 and all(isinstance(v, int) and not isinstance(v, bool) for v in values)


def _ids(values: Any, what: str) -> list[int]:
    if hasattr(values, "tolist"):
        values = values.tolist()
    if not isinstance(values, list | tuple) or (len(values) > 0 and not _is_ids(values)):
        raise PromptError(f"{what} must be a list of integers; got {_short(values)}")
    return list(values)


def _short(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 80 else text[:77] + '...'}"

"""`tokenization_kwargs` and what a call says of its texts, validated."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from jaxcls.errors import ConfigError
from jaxcls.inputs.template import Field, Template

Side = Literal["left", "right"]
Strategy = Literal["longest_first", "only_first", "only_second", "second_first"]
_STRATEGIES = ("longest_first", "only_first", "only_second")
_NO_PADDING = "sequences are packed, so that no score depends on padding; leave it out"


@dataclasses.dataclass(frozen=True)
class TextParams:
    """What becomes of texts in one kind of call.

    Attributes:
        template: what texts are put into; None: what the tokenizer has for them.
        variables: of the template.
        most_tokens: of each text by itself, before it is put into anything.
        strategy: which text of a pair is cut if nobody says; "second_first": the second, and the first when nothing is
            left of it. None: "second_first" in a template, else "longest_first".
    """

    template: Template | None = None
    variables: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    most_tokens: Mapping[Field, int] = dataclasses.field(default_factory=dict)
    strategy: Strategy | None = None


# What calls do with texts that say nothing of them.
AS_GIVEN = TextParams()


@dataclasses.dataclass(frozen=True)
class TokenizeOptions:
    """What `tokenization_kwargs` asks for, validated.

    Attributes:
        max_tokens: truncate to so many tokens, special tokens included; None: do not truncate.
        side: which end of the text is cut; None: the tokenizer's own.
        add_special_tokens: whether [CLS], <s>, <eos> ... are added.
        lower_case: lower-case the text first; None: as the checkpoint says.
        strategy: which text of a pair is cut; None: as `texts` says.
        texts: what the kind of call says.
    """

    max_tokens: int | None = None
    side: Side | None = None
    add_special_tokens: bool = True
    lower_case: bool | None = None
    strategy: Strategy | None = None
    texts: TextParams = AS_GIVEN


def tokenize_options(
    kwargs: Mapping[str, Any] | None, *, max_len: int, texts: TextParams = AS_GIVEN
) -> TokenizeOptions:
    """Reads `tokenization_kwargs`; every key means something or is an error.

    Args:
        kwargs: truncate_prompt_tokens, truncation_side, truncation, max_length, add_special_tokens, do_lower_case.
        max_len: the model's longest prompt in tokens, what -1 stands for.
        texts: what the kind of call says.

    Raises:
        ConfigError: an unknown key, an impossible value, or padding.
    """
    given = dict(kwargs or {})
    side = given.pop("truncation_side", None)
    if side not in (None, "left", "right"):
        raise ConfigError(f"truncation_side must be 'left' or 'right', got {side!r}")
    truncation = given.get("truncation")
    options = TokenizeOptions(
        max_tokens=_max_tokens(given, max_len),
        side=side,
        add_special_tokens=_bool(given, "add_special_tokens", True),
        lower_case=_bool(given, "do_lower_case", None),
        strategy=truncation if truncation in _STRATEGIES else None,
        texts=texts,
    )
    for key in ("padding", "pad_prompt_tokens"):
        if given.pop(key, None) not in (None, False, "do_not_pad"):
            raise ConfigError(f"tokenization_kwargs: {key}: {_NO_PADDING}")
    if given:
        raise ConfigError(
            f"unknown tokenization_kwargs: {', '.join(sorted(given))}; known are truncate_prompt_tokens, "
            "truncation_side, truncation, max_length, add_special_tokens, do_lower_case"
        )
    return options


def _bool(given: dict[str, Any], key: str, default: bool | None) -> Any:
    value = given.pop(key, default)
    if value is not None and not isinstance(value, bool):
        raise ConfigError(f"tokenization_kwargs: {key} must be True or False, got {value!r}")
    return default if value is None else value


def _max_tokens(given: dict[str, Any], max_len: int) -> int | None:
    """VLLM's truncate_prompt_tokens, else transformers' truncation + max_length."""
    keep = given.pop("truncate_prompt_tokens", None)
    truncation = given.pop("truncation", None)
    length = given.pop("max_length", None)
    if truncation not in (None, True, False, *_STRATEGIES, "do_not_truncate"):
        known = ", ".join(map(repr, (*_STRATEGIES, "do_not_truncate")))
        raise ConfigError(f"truncation must be True, False or one of {known}, got {truncation!r}")
    wanted = truncation is True or truncation in _STRATEGIES
    if length is not None and not wanted:
        raise ConfigError("tokenization_kwargs: max_length needs truncation=True")
    if keep is not None and wanted:
        raise ConfigError("tokenization_kwargs: give truncate_prompt_tokens or truncation, not both")
    name, value = ("max_length", length) if wanted else ("truncate_prompt_tokens", keep)
    if wanted and value is None:
        value = -1
    if value is None:
        return None
    return check_max_tokens(value, name, max_len)


def check_max_tokens(value: Any, name: str, max_len: int) -> int:
    """-1 -> max_len; refuses what is not a length from 1 to max_len."""
    if isinstance(value, bool) or not isinstance(value, int) or value < -1 or value == 0:
        raise ConfigError(f"{name} must be -1 (the model's maximum) or at least 1, got {value!r}")
    if value > max_len:
        raise ConfigError(f"{name} = {value} cannot be greater than max_model_len = {max_len}")
    return max_len if value == -1 else value

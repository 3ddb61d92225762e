"""tokenization_kwargs: every key means something or is an error."""

from typing import Any

import pytest

from jaxcls.errors import ConfigError
from jaxcls.inputs.tokenize_options import TokenizeOptions, check_max_tokens, tokenize_options

MAX_LEN = 32


@pytest.mark.parametrize(
    ("kwargs", "expected"),
    [
        (None, TokenizeOptions()),
        ({}, TokenizeOptions()),
        ({"truncate_prompt_tokens": None}, TokenizeOptions()),
        ({"truncate_prompt_tokens": 7}, TokenizeOptions(max_tokens=7)),
        ({"truncate_prompt_tokens": 1}, TokenizeOptions(max_tokens=1)),
        ({"truncate_prompt_tokens": MAX_LEN}, TokenizeOptions(max_tokens=MAX_LEN)),
        ({"truncate_prompt_tokens": -1}, TokenizeOptions(max_tokens=MAX_LEN)),
        ({"truncation": True}, TokenizeOptions(max_tokens=MAX_LEN)),
        ({"truncation": "longest_first"}, TokenizeOptions(max_tokens=MAX_LEN, strategy="longest_first")),
        ({"truncation": True, "max_length": 7}, TokenizeOptions(max_tokens=7)),
        (
            {"truncation": "longest_first", "max_length": 7},
            TokenizeOptions(max_tokens=7, strategy="longest_first"),
        ),
        ({"truncation": True, "max_length": None}, TokenizeOptions(max_tokens=MAX_LEN)),
        ({"truncation": False}, TokenizeOptions()),
        ({"truncation": "do_not_truncate"}, TokenizeOptions()),
        ({"truncation": False, "truncate_prompt_tokens": 7}, TokenizeOptions(max_tokens=7)),
        ({"truncation_side": "left"}, TokenizeOptions(side="left")),
        ({"truncation_side": "right"}, TokenizeOptions(side="right")),
        ({"truncation_side": None}, TokenizeOptions()),
        ({"add_special_tokens": False}, TokenizeOptions(add_special_tokens=False)),
        ({"add_special_tokens": None}, TokenizeOptions()),
        ({"do_lower_case": True}, TokenizeOptions(lower_case=True)),
        ({"do_lower_case": False}, TokenizeOptions(lower_case=False)),
        ({"padding": False}, TokenizeOptions()),
        ({"padding": "do_not_pad"}, TokenizeOptions()),
        ({"padding": None, "pad_prompt_tokens": None}, TokenizeOptions()),
    ],
    ids=lambda value: str(value) if isinstance(value, dict | None) else "",
)
def test_meaning(kwargs: dict[str, Any] | None, expected: TokenizeOptions) -> None:
    assert tokenize_options(kwargs, max_len=MAX_LEN) == expected


@pytest.mark.parametrize(
    ("kwargs", "named"),
    [
        ({"truncate_prompt_tokens": 0}, "truncate_prompt_tokens must be -1 .* or at least 1, got 0"),
        ({"truncate_prompt_tokens": -2}, "truncate_prompt_tokens must be .*got -2"),
        ({"truncate_prompt_tokens": True}, "truncate_prompt_tokens must be .*got True"),
        ({"truncate_prompt_tokens": "7"}, "truncate_prompt_tokens must be .*got '7'"),
        ({"truncate_prompt_tokens": 7.0}, r"truncate_prompt_tokens must be .*got 7\.0"),
        ({"truncate_prompt_tokens": 33}, "truncate_prompt_tokens = 33 cannot be greater than max_model_len = 32"),
        ({"truncation": True, "max_length": 33}, "max_length = 33 cannot be greater than max_model_len = 32"),
        ({"truncation": True, "max_length": 0}, "max_length must be"),
        ({"truncation": True, "truncate_prompt_tokens": 7}, "truncate_prompt_tokens or truncation, not both"),
        ({"truncation": "only_third"}, "truncation must be .*got 'only_third'"),
        ({"max_length": 7}, "max_length needs truncation=True"),
        ({"max_length": 7, "truncation": False}, "max_length needs truncation=True"),
        ({"truncation_side": "middle"}, "truncation_side must be 'left' or 'right', got 'middle'"),
        ({"add_special_tokens": "no"}, "add_special_tokens must be True or False, got 'no'"),
        ({"do_lower_case": 1}, "do_lower_case must be True or False, got 1"),
        ({"padding": True}, "padding: sequences are packed"),
        ({"padding": "max_length"}, "padding: sequences are packed"),
        ({"pad_prompt_tokens": -1}, "pad_prompt_tokens: sequences are packed"),
        ({"stride": 3, "return_tensors": "pt"}, "unknown tokenization_kwargs: return_tensors, stride; known are"),
    ],
    ids=str,
)
def test_what_cannot_be_honoured_is_refused(kwargs: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        tokenize_options(kwargs, max_len=MAX_LEN)


def test_the_caller_keeps_the_arguments() -> None:
    kwargs = {"truncation": True, "max_length": 7}
    tokenize_options(kwargs, max_len=MAX_LEN)
    assert kwargs == {"truncation": True, "max_length": 7}


def test_lengths_are_checked_under_the_name_that_was_used() -> None:
    assert (check_max_tokens(-1, "x", 9), check_max_tokens(9, "x", 9)) == (9, 9)
    with pytest.raises(ConfigError, match="x = 10"):
        check_max_tokens(10, "x", 9)

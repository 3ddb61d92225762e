"""The forms of a prompt."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxcls.errors import PromptError
from jaxcls.inputs.prompt import TextPrompt, TokensPrompt, parse_prompt, prompt_list


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("text", TextPrompt("text")),
        ("", TextPrompt("")),
        ("naïve 😀 \x00", TextPrompt("naïve 😀 \x00")),
        (("a", "b"), TextPrompt("a", "b")),
        (("a", ""), TextPrompt("a", "")),
        ([1, 2], TokensPrompt([1, 2])),
        ([], TokensPrompt([])),
        (range(3), None),
        ({"prompt": "text"}, TextPrompt("text")),
        ({"text": "a"}, TextPrompt("a")),
        ({"text": "a", "text_pair": "b"}, TextPrompt("a", "b")),
        ({"text_pair": "b", "text": "a"}, TextPrompt("a", "b")),
        ({"prompt_token_ids": [1, 2]}, TokensPrompt([1, 2])),
        ({"prompt_token_ids": (1, 2)}, TokensPrompt([1, 2])),
        ({"prompt_token_ids": np.array([1, 2], np.int64)}, TokensPrompt([1, 2])),
        ({"prompt_token_ids": [1, 2], "prompt": "text"}, TokensPrompt([1, 2])),
        ({"prompt_token_ids": [1, 2], "token_type_ids": [0, 1]}, TokensPrompt([1, 2], [0, 1])),
        ({"prompt_token_ids": [1, 2], "token_type_ids": None}, TokensPrompt([1, 2])),
    ],
    ids=repr,
)
def test_forms(prompt: Any, expected: TextPrompt | TokensPrompt | None) -> None:
    if expected is None:
        with pytest.raises(PromptError, match="list of integers"):
            parse_prompt(prompt)
    else:
        assert parse_prompt(prompt) == expected


def test_token_ids_are_copied() -> None:
    ids = [1, 2]
    parsed = parse_prompt(ids)
    ids.append(3)
    assert parsed == TokensPrompt([1, 2])


@pytest.mark.parametrize(
    ("prompt", "named"),
    [
        (None, "a prompt is .*NoneType None"),
        (3, "a prompt is .*int 3"),
        (True, "a prompt is .*bool True"),
        (b"bytes", "list of integers; got bytes"),
        (np.array([1, 2]), "a prompt is .*ndarray"),
        (["a", "b"], r"list of integers; got list \['a', 'b'\]"),
        ([1, 2.0], "list of integers"),
        ([1, None], "list of integers"),
        ([True, False], "list of integers"),
        ([[1, 2]], "list of integers"),
        (("a",), "a tuple is a pair of two strings"),
        (("a", "b", "c"), "a tuple is a pair of two strings"),
        (("a", None), "a tuple is a pair of two strings"),
        ((1, 2), "a tuple is a pair of two strings"),
        ({}, r"a dict with keys \[\]"),
        ({"text_pair": "b"}, r"a dict with keys \['text_pair'\]"),
        ({"prompt": "a", "text": "b"}, r"keys \['prompt', 'text'\]"),
        ({"prompt": "a", "multi_modal_data": {}}, "multi_modal_data"),
        ({"prompt_embeds": [0.1]}, "prompt_embeds"),
        ({"text": "a", "text_pair": "b", "cache_salt": "x"}, "cache_salt"),
        ({"prompt_token_ids": [1], "text": "a"}, "a dict with keys"),
        ({"token_type_ids": [0]}, "a dict with keys"),
        ({1: "a"}, r"keys \['1'\]"),
        ({"prompt": ["a"]}, "prompt must be strings"),
        ({"prompt": [1, 2]}, "prompt must be strings"),
        ({"text": "a", "text_pair": None}, "text and text_pair must be strings"),
        ({"prompt_token_ids": "12"}, "prompt_token_ids must be a list of integers; got str '12'"),
        ({"prompt_token_ids": None}, "prompt_token_ids must be a list of integers"),
        ({"prompt_token_ids": np.array([1.0])}, "prompt_token_ids must be a list of integers"),
        ({"prompt_token_ids": [1], "token_type_ids": "0"}, "token_type_ids must be a list of integers"),
        ({"prompt_token_ids": [1, 2], "token_type_ids": [0]}, "2 prompt_token_ids but 1 token_type_ids"),
        ({"prompt_token_ids": [1], "token_type_ids": []}, "1 prompt_token_ids but 0 token_type_ids"),
    ],
    ids=repr,
)
def test_misuse_is_explained(prompt: Any, named: str) -> None:
    with pytest.raises(PromptError, match=named):
        parse_prompt(prompt)


def test_long_prompts_are_not_repeated_whole() -> None:
    with pytest.raises(PromptError) as info:
        parse_prompt([0.5] * 10_000)
    assert len(str(info.value)) < 200


@pytest.mark.parametrize("broken", ["\ud800", "ok \udfff", "\udc80é"])
@pytest.mark.parametrize("form", [lambda s: s, lambda s: ("ok", s), lambda s: (s, "ok"), lambda s: {"prompt": s}])
def test_lone_surrogates_are_refused(broken: str, form: Any) -> None:
    position = next(i for i, char in enumerate(broken) if "\ud800" <= char <= "\udfff")
    with pytest.raises(PromptError, match=rf"not valid Unicode: .* at {position}"):
        parse_prompt(form(broken))


@given(st.text())
def test_every_valid_text_is_kept(text: str) -> None:
    assert parse_prompt(text) == TextPrompt(text)


@pytest.mark.parametrize(
    ("prompts", "expected"),
    [
        ("one", ["one"]),
        (("a", "b"), [("a", "b")]),
        ({"prompt": "one"}, [{"prompt": "one"}]),
        ([1, 2, 3], [[1, 2, 3]]),
        (["a", "b"], ["a", "b"]),
        ([[1, 2], [3]], [[1, 2], [3]]),
        (["a", [1], ("a", "b"), {"text": "c"}], ["a", [1], ("a", "b"), {"text": "c"}]),
        pytest.param(iter(["a", "b"]), ["a", "b"], id="iterator"),
        ({"a": 1}.keys(), ["a"]),
        ([""], [""]),
        ([[]], [[]]),
        ([True], [True]),
    ],
    ids=repr,
)
def test_one_prompt_or_many(prompts: Any, expected: list[Any]) -> None:
    assert prompt_list(prompts) == expected


@pytest.mark.parametrize("nothing", [[], iter(())])
def test_no_prompts_are_an_error(nothing: Any) -> None:
    with pytest.raises(PromptError, match="list is empty"):
        prompt_list(nothing)


@pytest.mark.parametrize("wrong", [None, 3, 1.5])
def test_what_is_neither_a_prompt_nor_many_is_explained(wrong: Any) -> None:
    with pytest.raises(PromptError, match=f"got {type(wrong).__name__} {wrong}"):
        prompt_list(wrong)


def test_an_error_tells_which_prompt() -> None:
    error = PromptError("it is bad", index=3)
    assert (str(error), error.message, error.index) == ("prompt 3: it is bad", "it is bad", 3)
    assert str(PromptError("it is bad")) == "it is bad"

"""Prompts that are token ids: cut inside the special tokens, and checked against the model's tables."""

from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizer_files import KINDS

from jaxcls.errors import PromptError
from jaxcls.inputs.prompt import TextPrompt, TokensPrompt
from jaxcls.inputs.tokenize import TextTokenizer
from jaxcls.inputs.tokenize_options import TokenizeOptions

Side = Literal["left", "right"]
PAD, UNK, CLS, SEP = range(4)
TOKENIZER = TextTokenizer(KINDS["wordpiece"](), max_len=64, vocab_size=100, num_token_types=2)


def cut(
    ids: list[int], length: int, side: Side | None = None, types: list[int] | None = None, tokenizer: Any = TOKENIZER
) -> TokensPrompt:
    [tokens] = tokenizer([TokensPrompt(ids, types)], [TokenizeOptions(length, side)])
    if isinstance(tokens, PromptError):
        raise tokens
    return tokens


@pytest.mark.parametrize(
    ("ids", "length", "left", "right"),
    [
        ([CLS, 5, 6, 7, SEP], 5, [CLS, 5, 6, 7, SEP], [CLS, 5, 6, 7, SEP]),
        ([CLS, 5, 6, 7, SEP], 4, [CLS, 6, 7, SEP], [CLS, 5, 6, SEP]),
        ([CLS, 5, 6, 7, SEP], 2, [CLS, SEP], [CLS, SEP]),
        ([5, 6, 7, SEP], 2, [7, SEP], [5, SEP]),
        ([CLS, 5, 6, 7], 2, [CLS, 7], [CLS, 5]),
        ([5, 6, 7], 1, [7], [5]),
        ([CLS, CLS, 5, 6, 7, SEP, PAD], 5, [CLS, CLS, 7, SEP, PAD], [CLS, CLS, 5, SEP, PAD]),
        # Only special tokens at the ends are known to be wanted; those between texts go with the text.
        ([CLS, 5, SEP, 6, 7, SEP], 5, [CLS, SEP, 6, 7, SEP], [CLS, 5, SEP, 6, SEP]),
    ],
)
def test_text_goes_and_special_tokens_stay(ids: list[int], length: int, left: list[int], right: list[int]) -> None:
    assert cut(ids, length, "left").token_ids == left
    assert cut(ids, length, "right").token_ids == right
    assert cut(ids, length).token_ids == right


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(("ids", "length"), [([CLS, 5, SEP], 1), ([CLS, SEP], 1), ([CLS, SEP, PAD], 2), ([CLS, 5], 0)])
def test_special_tokens_are_never_cut(ids: list[int], length: int, side: Side) -> None:
    with pytest.raises(PromptError, match=f"cannot cut {len(ids) - length} of {len(ids)} tokens"):
        cut(ids, length, side)


@pytest.mark.parametrize(("side", "types"), [("left", [0, 0, 1, 1]), ("right", [0, 0, 0, 1])])
def test_token_types_are_cut_with_the_tokens(side: Side, types: list[int]) -> None:
    tokens = cut([CLS, 5, SEP, 6, 7, SEP], 4, side, [0, 0, 0, 1, 1, 1])
    kept = {"left": [CLS, 6, 7, SEP], "right": [CLS, 5, SEP, SEP]}[side]
    assert tokens == TokensPrompt(kept, types if side == "right" else [0, 1, 1, 1])


@given(
    prefix=st.lists(st.sampled_from([PAD, CLS, SEP]), max_size=3),
    body=st.lists(st.integers(4, 99), min_size=1, max_size=20),
    suffix=st.lists(st.sampled_from([PAD, CLS, SEP]), max_size=3),
    length=st.integers(1, 30),
    side=st.sampled_from(["left", "right"]),
)
def test_any_prompt(prefix: list[int], body: list[int], suffix: list[int], length: int, side: Side) -> None:
    room = length - len(prefix) - len(suffix)
    ids = [*prefix, *body, *suffix]
    if room < 0:
        with pytest.raises(PromptError, match="cannot cut"):
            cut(ids, length, side)
    else:
        kept = body[:room] if side == "right" else body[max(len(body) - room, 0) :]
        assert cut(ids, length, side).token_ids == [*prefix, *kept, *suffix]


@given(text=st.text("abc def,!", max_size=30), length=st.integers(2, 20), side=st.sampled_from(["left", "right"]))
def test_ids_of_a_text_are_cut_as_the_text_is(text: str, length: int, side: Side) -> None:
    options = TokenizeOptions(length, side)
    [whole, from_text] = TOKENIZER([TextPrompt(text)] * 2, [TokenizeOptions(), options])
    assert isinstance(whole, TokensPrompt)
    [from_ids] = TOKENIZER([whole], [options])
    if len(whole.token_ids) > 2:
        assert from_ids == from_text


def test_without_a_tokenizer_no_id_is_special() -> None:
    bare = TextTokenizer(None, max_len=64, vocab_size=100, num_token_types=0, side="left")
    assert cut([CLS, 5, 6, SEP], 2, tokenizer=bare).token_ids == [6, SEP]
    assert cut([CLS, 5, 6, SEP], 2, "right", tokenizer=bare).token_ids == [CLS, 5]


def check(ids: list[int], types: list[int] | None = None, token_types: int = 2) -> str | None:
    tokenizer = TextTokenizer(None, max_len=4, vocab_size=10, num_token_types=token_types)
    [result] = tokenizer([TokensPrompt(ids, types)], [TokenizeOptions()])
    return str(result) if isinstance(result, PromptError) else None


@pytest.mark.parametrize(
    ("ids", "types", "token_types"),
    [
        ([0, 9], None, 2),
        ([1, 2, 3, 4], None, 2),
        ([1, 2], [0, 1], 2),
        ([1, 2], [0, 2], 3),
        # All zeros say the same as nothing, so they suit a model without token types.
        ([1, 2], [0, 0], 1),
        ([1, 2], [0, 0], 0),
    ],
)
def test_what_the_model_can_look_up(ids: list[int], types: list[int] | None, token_types: int) -> None:
    assert check(ids, types, token_types) is None


@pytest.mark.parametrize(
    ("ids", "types", "token_types", "message"),
    [
        ([], None, 2, "empty"),
        ([1, 2, 3, 4, 5], None, 2, "has 5 tokens, but the model takes at most 4"),
        ([1, 10], None, 2, "token id 10 is out of range: the vocabulary has 10 entries"),
        ([-1, 2], None, 2, "token id -1 is out of range"),
        ([1, 2], [0, 2], 2, "token_type_ids must be below 2 for this model, got 2"),
        ([1, 2], [0, 1], 1, "token_type_ids must be below 1"),
        ([1, 2], [0, 1], 0, "token_type_ids must be below 0"),
        ([1, 2], [-1, 1], 2, "token_type_ids must be below 2"),
    ],
)
def test_what_it_cannot(ids: list[int], types: list[int] | None, token_types: int, message: str) -> None:
    assert message in (check(ids, types, token_types) or "accepted")

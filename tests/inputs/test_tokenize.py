"""Text -> token ids, compared with transformers' tokenizers on the same files."""

from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizer_files import AROUND, KINDS, save
from transformers import PreTrainedTokenizerFast

from jaxcls.errors import ConfigError, PromptError
from jaxcls.inputs.load_tokenizer import load_tokenizer
from jaxcls.inputs.prompt import TextPrompt, TokensPrompt
from jaxcls.inputs.tokenize import TextTokenizer
from jaxcls.inputs.tokenize_options import TokenizeOptions

SHORT, LONG = "the cat sat", "The dog ran after a very good film, but bad!"
ODD = "Ünïcode\t😀 x\u0000y  [SEP] </s> <eos>"
PAIRS = [(SHORT, LONG), (LONG, SHORT), (SHORT, SHORT), (LONG, ODD), (SHORT, ""), ("", LONG)]
Side = Literal["left", "right"]


class Both:
    """One tokenizer, read by us and by transformers."""

    def __init__(self, kind: str, path: Path):
        self.kind = kind
        save(KINDS[kind](), path)
        backend = load_tokenizer(path).backend
        self.ours = TextTokenizer(backend, max_len=512, vocab_size=backend.get_vocab_size(), num_token_types=2)
        # Its truncation is a state, so each of the two has its own copy of the file.
        self.theirs = {
            side: PreTrainedTokenizerFast(tokenizer_file=str(path / "tokenizer.json"), truncation_side=side)
            for side in ("left", "right")
        }

    def encode(self, text: str, pair: str | None, options: TokenizeOptions) -> TokensPrompt:
        [tokens] = self.ours([TextPrompt(text, pair)], [options])
        if isinstance(tokens, PromptError):
            raise tokens
        return tokens

    def expected(self, text: str, pair: str | None, options: TokenizeOptions) -> TokensPrompt:
        truncation: dict[str, Any] = {}
        if options.max_tokens is not None:
            truncation = {"truncation": "longest_first", "max_length": options.max_tokens}
        # A batch: given one pair, transformers drops an empty second text.
        found = self.theirs[options.side or "right"](
            [text],
            None if pair is None else [pair],
            add_special_tokens=options.add_special_tokens,
            return_token_type_ids=True,
            **truncation,
        )
        return TokensPrompt(found["input_ids"][0], found["token_type_ids"][0])


@pytest.fixture(scope="module", params=KINDS)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Both:
    return Both(request.param, tmp_path_factory.mktemp(request.param))


@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize(("text", "pair"), [(SHORT, None), (LONG, None), (ODD, None), *PAIRS])
def test_whole_texts(both: Both, text: str, pair: str | None, special: bool) -> None:
    options = TokenizeOptions(add_special_tokens=special)
    assert both.encode(text, pair, options) == both.expected(text, pair, options)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize(("text", "pair"), [(LONG, None), (ODD, None), *PAIRS])
def test_every_truncation(both: Both, text: str, pair: str | None, special: bool, side: Side) -> None:
    full = len(both.encode(text, pair, TokenizeOptions(add_special_tokens=special)).token_ids)
    fewest = both.ours.backend.num_special_tokens_to_add(pair is not None) if special and both.ours.backend else 0
    for length in range(max(fewest, 1), full + 2):
        options = TokenizeOptions(length, side, special)
        tokens = both.encode(text, pair, options)
        assert tokens == both.expected(text, pair, options)
        assert len(tokens.token_ids) == min(length, full)


def test_less_room_than_special_tokens(both: Both) -> None:
    assert both.ours.backend is not None
    for pair in (None, LONG):
        special = both.ours.backend.num_special_tokens_to_add(pair is not None)
        for length in range(1, special):
            with pytest.raises(PromptError, match=f"{length} tokens leave no room for the {special} special tokens"):
                both.encode(LONG, pair, TokenizeOptions(length))


@settings(max_examples=60, deadline=None)
@given(
    text=st.text(max_size=30),
    pair=st.none() | st.text(max_size=30),
    length=st.integers(4, 40),
    side=st.sampled_from(["left", "right"]),
)
def test_any_text_at_any_length(both: Both, text: str, pair: str | None, length: int, side: Side) -> None:
    options = TokenizeOptions(length, side)
    if not both.expected(text, pair, options).token_ids:
        with pytest.raises(PromptError, match="empty"):
            both.encode(text, pair, options)
    else:
        assert both.encode(text, pair, options) == both.expected(text, pair, options)


@settings(max_examples=60, deadline=None)
@given(text=st.text(min_size=1, max_size=30), length=st.integers(3, 20), side=st.sampled_from(["left", "right"]))
def test_truncation_keeps_the_special_tokens(both: Both, text: str, length: int, side: Side) -> None:
    before, after = AROUND[both.kind]
    whole = both.encode(text, None, TokenizeOptions(max_tokens=512)).token_ids
    cut = both.encode(text, None, TokenizeOptions(length, side)).token_ids
    assert cut[:before] == whole[:before]
    assert cut[len(cut) - after :] == whole[len(whole) - after :]
    assert len(cut) == min(length, len(whole))


def test_the_side_of_the_checkpoint_is_the_default(both: Both) -> None:
    left = TextTokenizer(both.ours.backend, 512, 10**6, 2, side="left")
    [tokens] = left([TextPrompt(LONG)], [TokenizeOptions(6)])
    assert tokens == both.expected(LONG, None, TokenizeOptions(6, "left"))
    [tokens] = left([TextPrompt(LONG)], [TokenizeOptions(6, "right")])
    assert tokens == both.expected(LONG, None, TokenizeOptions(6, "right"))


def test_lower_case_by_checkpoint_and_by_request(both: Both) -> None:
    lower = TextTokenizer(both.ours.backend, 512, 10**6, 2, lower_case=True)
    plain, text = TokenizeOptions(), "The CAT Sat"
    forms = [TextPrompt(text), TextPrompt(text, text), TextPrompt(text), TextPrompt(text)]
    options = [plain, plain, TokenizeOptions(lower_case=False), TokenizeOptions(max_tokens=4)]
    assert lower(forms, options) == [
        both.expected(text.lower(), None, plain),
        both.expected(text.lower(), text.lower(), plain),
        both.expected(text, None, plain),
        both.expected(text.lower(), None, TokenizeOptions(4)),
    ]
    [asked] = both.ours([TextPrompt(text)], [TokenizeOptions(lower_case=True)])
    assert asked == both.expected(text.lower(), None, plain)


def test_a_batch_keeps_its_order_and_its_errors_apart(both: Both) -> None:
    plain, bare, short = TokenizeOptions(), TokenizeOptions(add_special_tokens=False), TokenizeOptions(5)
    prompts = [
        TextPrompt(SHORT),
        TokensPrompt([5, 6]),
        TextPrompt(LONG),
        TextPrompt("", ""),
        TextPrompt(LONG, SHORT),
        TokensPrompt([10**6]),
        TextPrompt(SHORT),
    ]
    options = [plain, plain, bare, bare, short, plain, bare]
    results = both.ours(prompts, options)
    assert [type(r) for r in results] == [TokensPrompt] * 3 + [PromptError, TokensPrompt, PromptError, TokensPrompt]
    for i in (0, 2, 4, 6):
        prompt = prompts[i]
        assert isinstance(prompt, TextPrompt)
        assert results[i] == both.expected(prompt.text, prompt.text_pair, options[i])
    assert results[1] == TokensPrompt([5, 6])
    assert both.ours([], []) == []


def test_a_model_without_token_types_gets_none(both: Both) -> None:
    for rows in (0, 1):
        tokenizer = TextTokenizer(both.ours.backend, 512, 10**6, rows)
        [tokens] = tokenizer([TextPrompt(SHORT, LONG)], [TokenizeOptions()])
        assert tokens == TokensPrompt(both.expected(SHORT, LONG, TokenizeOptions()).token_ids)


@pytest.mark.parametrize("length", [9, 10])
def test_the_longest_prompt_is_accepted_and_one_more_is_not(both: Both, length: int) -> None:
    whole = both.encode(LONG, None, TokenizeOptions()).token_ids
    exact = TextTokenizer(both.ours.backend, len(whole), 10**6, 0)
    short = TextTokenizer(both.ours.backend, len(whole) - 1, 10**6, 0)
    assert exact([TextPrompt(LONG)], [TokenizeOptions()]) == [TokensPrompt(whole)]
    [error] = short([TextPrompt(LONG)], [TokenizeOptions()])
    assert isinstance(error, PromptError)
    assert f"the prompt has {len(whole)} tokens, but the model takes at most {len(whole) - 1}" in str(error)
    assert "truncate_prompt_tokens" in str(error)
    [tokens] = short([TextPrompt(LONG)], [TokenizeOptions(max_tokens=length)])
    assert isinstance(tokens, TokensPrompt)


def test_without_a_tokenizer_texts_are_an_error_and_ids_are_not() -> None:
    bare = TextTokenizer(None, max_len=8, vocab_size=10, num_token_types=0)
    assert bare([TokensPrompt([1, 2])], [TokenizeOptions()]) == [TokensPrompt([1, 2])]
    with pytest.raises(ConfigError, match=r"no tokenizer .*skip_tokenizer_init=True.*token ids"):
        bare([TokensPrompt([1, 2]), TextPrompt("text")], [TokenizeOptions()] * 2)

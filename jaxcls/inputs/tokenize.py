"""Text -> token ids: truncation that keeps the special tokens, token types, length and range checks."""

import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from tokenizers import Encoding, Tokenizer

from jaxcls.errors import ConfigError, PromptError
from jaxcls.inputs.chat import ChatTemplate, load_chat_template
from jaxcls.inputs.prompt import TextPrompt, TokensPrompt
from jaxcls.inputs.template import Field, PromptTemplate

Side = Literal["left", "right"]
Strategy = Literal["longest_first", "only_first", "only_second"]
_STRATEGIES = ("longest_first", "only_first", "only_second")


@dataclasses.dataclass(frozen=True)
class TokenizeOptions:
    """What `tokenization_kwargs` asks for, validated.

    Attributes:
        max_tokens: truncate to so many tokens, special tokens included; None: do not truncate.
        side: which end of the text is cut; None: the tokenizer's own.
        add_special_tokens: whether [CLS], <s>, <eos> ... are added.
        lower_case: lower-case the text first; None: as the checkpoint says.
        strategy: which text of a pair is cut.
    """

    max_tokens: int | None = None
    side: Side | None = None
    add_special_tokens: bool = True
    lower_case: bool | None = None
    strategy: Strategy = "longest_first"


# Of a document and its query, the document.
_CUT_ORDER: tuple[Field, ...] = ("text_pair", "text")
_NO_TOKENIZER = "this LLM has no tokenizer (skip_tokenizer_init=True): give token ids"
_NO_PADDING = "sequences are packed, so that no score depends on padding; leave it out"


def tokenize_options(kwargs: Mapping[str, Any] | None, *, max_len: int) -> TokenizeOptions:
    """Reads `tokenization_kwargs`; every key means something or is an error.

    Args:
        kwargs: truncate_prompt_tokens, truncation_side, truncation, max_length, add_special_tokens, do_lower_case.
        max_len: the model's longest prompt in tokens, what -1 stands for.

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
        strategy=truncation if truncation in _STRATEGIES else "longest_first",
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextTokens(TokensPrompt):
    """One text's tokens, and where in the text each is."""

    text: str
    encoding: Encoding


@dataclasses.dataclass(frozen=True)
class TextTokenizer:
    """A checkpoint's tokenizer and what belongs to it.

    Attributes:
        backend: the Rust tokenizer, its own truncation and padding switched off.
        max_len: the model's longest prompt in tokens.
        vocab_size: rows V of the embedding table; ids must be below.
        num_token_types: rows of the token type table; 0: the model has none.
        side: the end that truncation cuts when nobody says.
        lower_case: lower-case text first (sentence_bert_config.json).
        token_types: whether texts get the tokenizer's token types; False: zeros, as for token ids without them.
        template: what texts are put into; None: they are the prompt.
        unk_token: the token of what the vocabulary lacks, if there is one.
        score_token_id: ends every text, after truncation: the token that the model's score is read from.
        pairs: why pairs are refused where there is no template; None: they are tokenised as the tokenizer does.
        path: of its files.
    """

    backend: Tokenizer | None
    max_len: int
    vocab_size: int
    num_token_types: int
    side: Side = "right"
    lower_case: bool = False
    token_types: bool = True
    template: PromptTemplate | None = None
    unk_token: str | None = None
    score_token_id: int | None = None
    pairs: str | None = None
    path: Path | None = None

    @functools.cached_property
    def chat_template(self) -> ChatTemplate | None:
        """How conversations become text; None if the files do not say."""
        return None if self.path is None else load_chat_template(self.path)

    def rendered(self, text: str) -> list[int]:
        """Ids of a text that holds its special tokens already.

        Raises:
            ConfigError: there is no tokenizer.
        """
        if self.backend is None:
            raise ConfigError(_NO_TOKENIZER)
        return self._ended(self.backend.encode(text, add_special_tokens=False).ids)

    def __call__(
        self, prompts: Sequence[TextPrompt | TokensPrompt], options: Sequence[TokenizeOptions]
    ) -> list[TokensPrompt | PromptError]:
        """Token ids of every prompt, or the error that it has. Texts are tokenised in one parallel batch."""
        results: list[TokensPrompt | PromptError] = []
        encodings = iter(self._encode_texts(prompts, options))
        for prompt, option in zip(prompts, options, strict=True):
            try:
                if isinstance(prompt, TextPrompt):
                    tokens = self._finish_text(prompt, next(encodings), option)
                else:
                    tokens = self._finish_tokens(prompt, option)
                results.append(self._check(tokens))
            except PromptError as error:
                results.append(error)
        return results

    def _encode_texts(
        self, prompts: Sequence[TextPrompt | TokensPrompt], options: Sequence[TokenizeOptions]
    ) -> list[Encoding]:
        texts = [(p, o) for p, o in zip(prompts, options, strict=True) if isinstance(p, TextPrompt)]
        if not texts:
            return []
        if self.backend is None:
            raise ConfigError(_NO_TOKENIZER)
        encodings: list[Encoding | None] = [None] * len(texts)
        for special, located in itertools.product((True, False), repeat=2):
            chosen = [i for i, (p, o) in enumerate(texts) if (o.add_special_tokens, p.located) == (special, located)]
            # A template that does not fit the prompt is found in `_finish_text`, where it is that prompt's error.
            batch = [self._input(*texts[i]) if self._fits(texts[i][0]) else "" for i in chosen]
            # "fast" leaves out where in the text each token is.
            encode = self.backend.encode_batch if located else self.backend.encode_batch_fast
            encoded = encode(batch, add_special_tokens=special) if batch else []
            for i, encoding in zip(chosen, encoded, strict=True):
                encodings[i] = encoding
        return [e for e in encodings if e is not None]

    def _fits(self, prompt: TextPrompt) -> bool:
        return self.template is None or ("text_pair" in self.template.fields) == (prompt.text_pair is not None)

    def _texts(self, prompt: TextPrompt, option: TokenizeOptions) -> dict[Field, str]:
        lower = self.lower_case if option.lower_case is None else option.lower_case
        texts: dict[Field, str] = {"text": prompt.text}
        if prompt.text_pair is not None:
            texts["text_pair"] = prompt.text_pair
        return {field: text.lower() for field, text in texts.items()} if lower else texts

    def _input(self, prompt: TextPrompt, option: TokenizeOptions) -> str | tuple[str, str]:
        texts = self._texts(prompt, option)
        if self.template is not None:
            return self.template.fill(texts)[0]
        return texts["text"] if prompt.text_pair is None else (texts["text"], texts["text_pair"])

    def _finish_text(self, prompt: TextPrompt, encoding: Encoding, option: TokenizeOptions) -> TokensPrompt:
        if self.template is not None and not self._fits(prompt):
            self.template.fill(self._texts(prompt, option))  # raises
        if self.pairs is not None and self.template is None and prompt.text_pair is not None:
            raise PromptError(self.pairs)
        limit = None if option.max_tokens is None else option.max_tokens - (self.score_token_id is not None)
        if limit is not None and len(encoding) > limit:
            cut = self._truncate if self.template is None else self._truncate_in_template
            encoding = cut(prompt, option, limit)
        tokens = self._tokens(encoding)
        return self._located(prompt, option, tokens, encoding) if prompt.located else tokens

    def _located(
        self, prompt: TextPrompt, option: TokenizeOptions, tokens: TokensPrompt, encoding: Encoding
    ) -> TextTokens:
        if len(self._texts(prompt, option)["text"]) != len(prompt.text):
            raise PromptError("this text changes its length in lower case: its tokens cannot be found in it")
        return TextTokens(tokens.token_ids, tokens.token_type_ids, text=prompt.text, encoding=encoding)

    def _tokens(self, encoding: Encoding) -> TokensPrompt:
        # Each access makes a new list.
        types = encoding.type_ids if self.token_types and self.num_token_types > 1 else None
        return TokensPrompt(self._ended(encoding.ids), types)

    def _ended(self, ids: list[int]) -> list[int]:
        token = self.score_token_id
        return ids if token is None or ids[-1:] == [token] else [*ids, token]

    def _truncate(self, prompt: TextPrompt, option: TokenizeOptions, max_tokens: int) -> Encoding:
        """Cuts the text, never the special tokens around it; of a pair, the longer text first."""
        assert self.backend is not None
        pair = prompt.text_pair is not None
        special = self.backend.num_special_tokens_to_add(pair) if option.add_special_tokens else 0
        budget = max_tokens - special
        if budget < 0:
            raise PromptError(f"{max_tokens} tokens leave no room for the {special} special tokens")
        side = option.side or self.side
        text = self._input(prompt, option)
        parts = [self.backend.encode(part, add_special_tokens=False) for part in ([text] if not pair else text)]
        for part, keep in zip(parts, _kept_lengths([len(p.ids) for p in parts], budget, option.strategy), strict=True):
            part.truncate(keep, direction=side)
        return self.backend.post_process(*parts, add_special_tokens=option.add_special_tokens)

    def _truncate_in_template(self, prompt: TextPrompt, option: TokenizeOptions, max_tokens: int) -> Encoding:
        """Cuts the second text, then the first, at the borders of tokens, until the whole prompt fits."""
        assert self.backend is not None
        assert self.template is not None
        side = option.side or self.side
        texts = self._texts(prompt, option)
        while True:
            whole, places = self.template.fill(texts)
            encoding = self.backend.encode(whole, add_special_tokens=option.add_special_tokens)
            excess = len(encoding) - max_tokens
            if excess <= 0:
                return encoding
            field: Field | None = next((field for field in _CUT_ORDER if texts.get(field)), None)
            if field is None:
                raise PromptError(f"the prompt_template alone has {len(encoding)} tokens; {max_tokens} are allowed")
            start, end = places[field]
            ends = sorted({b - start for a, b in encoding.offsets if start <= a < b <= end})
            starts = sorted({a - start for a, b in encoding.offsets if start <= a < b <= end})
            # A token that only partly belongs to the text is not among them; each round removes one at least.
            if side == "right":
                texts[field] = texts[field][: ends[-excess - 1]] if len(ends) > excess else ""
            else:
                texts[field] = texts[field][starts[excess] :] if len(starts) > excess else ""

    def _finish_tokens(self, prompt: TokensPrompt, option: TokenizeOptions) -> TokensPrompt:
        excess = 0 if option.max_tokens is None else len(prompt.token_ids) - option.max_tokens
        if excess <= 0:
            return prompt
        kept = self._kept(prompt.token_ids, excess, option.side or self.side)
        types = prompt.token_type_ids
        return TokensPrompt([prompt.token_ids[i] for i in kept], None if types is None else [types[i] for i in kept])

    def _kept(self, ids: list[int], excess: int, side: Side) -> list[int]:
        """Indices that remain: special tokens at both ends stay as long as there is anything else to cut."""
        special = (
            set()
            if self.backend is None
            else {i for i, token in self.backend.get_added_tokens_decoder().items() if token.special}
        )
        first = next((i for i, t in enumerate(ids) if t not in special), len(ids))
        last = len(ids) - next((i for i, t in enumerate(reversed(ids)) if t not in special), len(ids))
        if last - first < excess:
            raise PromptError(f"cannot cut {excess} of {len(ids)} tokens without cutting special tokens")
        cut = range(first, first + excess) if side == "left" else range(last - excess, last)
        return [i for i in range(len(ids)) if i not in cut]

    def _check(self, tokens: TokensPrompt) -> TokensPrompt:
        ids = tokens.token_ids
        if not ids:
            raise PromptError("the prompt is empty: it has no tokens")
        if len(ids) > self.max_len:
            raise PromptError(
                f"the prompt has {len(ids)} tokens, but the model takes at most {self.max_len}; shorten it, or pass "
                'tokenization_kwargs={"truncate_prompt_tokens": -1}'
            )
        if min(ids) < 0 or max(ids) >= self.vocab_size:
            wrong = next(i for i in ids if not 0 <= i < self.vocab_size)
            raise PromptError(f"token id {wrong} is out of range: the vocabulary has {self.vocab_size} entries")
        types = tokens.token_type_ids
        if types is not None and any(types) and (min(types) < 0 or max(types) >= self.num_token_types):
            raise PromptError(f"token_type_ids must be below {self.num_token_types} for this model, got {max(types)}")
        return tokens


def _kept_lengths(lengths: list[int], budget: int, strategy: Strategy) -> list[int]:
    """How much of one or two texts to keep, as transformers' truncation strategies say."""
    if len(lengths) == 1:
        return [min(lengths[0], budget)]
    if strategy != "longest_first":
        cut = 0 if strategy == "only_first" else 1
        keep = budget - lengths[1 - cut]
        if keep < 0:
            raise PromptError(f"truncation='{strategy}': the other text alone has {lengths[1 - cut]} tokens")
        return [keep, lengths[1]] if cut == 0 else [lengths[0], keep]
    short, long = sorted(lengths)
    if short + long > budget:
        long = max(short, budget - short)
        if short + long > budget:
            short, long = budget // 2, budget // 2 + budget % 2
    return [short, long] if lengths[0] <= lengths[1] else [long, short]

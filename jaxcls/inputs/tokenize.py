"""Text -> token ids: truncation that keeps the special tokens, token types, length and range checks."""

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Encoding, Tokenizer

from jaxcls.errors import ConfigError, PromptError
from jaxcls.inputs.chat import ChatTemplate, load_chat_template
from jaxcls.inputs.prompt import TextPrompt, TokensPrompt
from jaxcls.inputs.template import Field, Piece, PieceKey, Template
from jaxcls.inputs.tokenize_options import Side, Strategy, TokenizeOptions

_NO_TOKENIZER = "this LLM has no tokenizer (skip_tokenizer_init=True): give token ids"


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
        single: what single texts are put into, or why there can be none; None: they are the prompt.
        pair: what pairs are put into, or why there can be none; None: they are joined as the tokenizer does.
        unk_token: the token of what the vocabulary lacks, if there is one.
        score_token_id: ends every text, after truncation: the token that the model's score is read from.
        path: of its files.
        conversation: what conversations are rendered with; None: the template among the files.
    """

    backend: Tokenizer | None
    max_len: int
    vocab_size: int
    num_token_types: int
    side: Side = "right"
    lower_case: bool = False
    token_types: bool = True
    single: Template | PromptError | None = None
    pair: Template | PromptError | None = None
    unk_token: str | None = None
    score_token_id: int | None = None
    path: Path | None = None
    conversation: ChatTemplate | None = None

    @functools.cached_property
    def chat_template(self) -> ChatTemplate | None:
        """How conversations become text; None if nobody says."""
        if self.conversation is not None or self.path is None:
            return self.conversation
        return load_chat_template(self.path)

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
        given = list(zip(prompts, options, strict=True))
        pieces = [self._pieces(p, o) if isinstance(p, TextPrompt) else [] for p, o in given]
        encodings = self._encode({piece.key for found in pieces if isinstance(found, list) for piece in found})
        results: list[TokensPrompt | PromptError] = []
        for (prompt, option), found in zip(given, pieces, strict=True):
            try:
                if isinstance(found, PromptError):
                    raise found
                if isinstance(prompt, TokensPrompt):
                    tokens = self._finish_tokens(prompt, option)
                elif prompt.located:
                    tokens = self._locate(prompt, encodings[found[0].key], option)
                else:
                    tokens = self._finish_text(found, [encodings[piece.key] for piece in found], option)
                results.append(self._check(tokens))
            except PromptError as error:
                results.append(error)
        return results

    def _pieces(self, prompt: TextPrompt, option: TokenizeOptions) -> list[Piece] | PromptError:
        """What is tokenised for a prompt, or the error that it has."""
        texts = self._texts(prompt, option)
        if prompt.template is not None:
            try:
                return list(prompt.template.render(texts, option.texts.variables))
            except PromptError as error:
                return error
        template = option.texts.template or (self.single if prompt.text_pair is None else self.pair)
        if isinstance(template, PromptError):
            return template
        special = option.add_special_tokens
        if template is None:
            pair = texts.get("text_pair")
            return [Piece(texts["text"] if pair is None else (texts["text"], pair), special, located=prompt.located)]
        try:
            pieces = template.render(texts, option.texts.variables)
        except PromptError as error:
            return error
        return [dataclasses.replace(piece, special=piece.special and special) for piece in pieces]

    def _encode(self, keys: set[PieceKey]) -> dict[PieceKey, Encoding]:
        """Every piece, those that are in many prompts once."""
        encodings: dict[PieceKey, Encoding] = {}
        if keys and self.backend is None:
            raise ConfigError(_NO_TOKENIZER)
        for kind in itertools.product((True, False), repeat=2):
            batch = [key for key in keys if key[1:] == kind]
            if batch and self.backend is not None:
                # "fast" leaves out where in the text each token is.
                encode = self.backend.encode_batch if kind[1] else self.backend.encode_batch_fast
                encoded = encode([key[0] for key in batch], add_special_tokens=kind[0])
                encodings.update(zip(batch, encoded, strict=True))
        return encodings

    def _texts(self, prompt: TextPrompt, option: TokenizeOptions) -> dict[Field, str]:
        lower = self.lower_case if option.lower_case is None else option.lower_case
        texts: dict[Field, str] = {"text": prompt.text}
        if prompt.text_pair is not None:
            texts["text_pair"] = prompt.text_pair
        if lower:
            texts = {field: text.lower() for field, text in texts.items()}
        for field, most in option.texts.most_tokens.items():
            if field in texts:
                texts[field] = self._shortened(texts[field], most, option.side or self.side)
        return texts

    def _shortened(self, text: str, most: int, side: Side) -> str:
        """The text without the tokens beyond `most`, cut where a token begins or ends."""
        if self.backend is None:
            raise ConfigError(_NO_TOKENIZER)
        while len(encoding := self.backend.encode(text, add_special_tokens=False)) > most:
            places = encoding.offsets
            # What is cut may be tokenised anew, into more tokens: then it is cut again.
            shorter = text[: places[most - 1][1]] if side == "right" else text[places[-most][0] :]
            text = shorter if len(shorter) < len(text) else (text[:-1] if side == "right" else text[1:])
        return text

    def _finish_text(
        self, pieces: Sequence[Piece], encodings: Sequence[Encoding], option: TokenizeOptions
    ) -> TokensPrompt:
        limit = None if option.max_tokens is None else option.max_tokens - (self.score_token_id is not None)
        if limit is not None and sum(map(len, encodings)) > limit:
            return self._truncate(pieces, option, limit)
        ids = _joined([encoding.ids for encoding in encodings])
        types = _joined([encoding.type_ids for encoding in encodings]) if self._has_types else None
        return TokensPrompt(self._ended(ids), types)

    @property
    def _has_types(self) -> bool:
        return self.token_types and self.num_token_types > 1

    def _ended(self, ids: list[int]) -> list[int]:
        token = self.score_token_id
        return ids if token is None or ids[-1:] == [token] else [*ids, token]

    def _truncate(self, pieces: Sequence[Piece], option: TokenizeOptions, limit: int) -> TokensPrompt:
        """Cuts tokens of the texts, never special tokens or those of a template."""
        assert self.backend is not None
        ids: list[int] = []
        types: list[int] = []
        cuttable: dict[Field, list[int]] = {"text": [], "text_pair": []}
        for piece in pieces:
            text, pair = (piece.text, None) if isinstance(piece.text, str) else piece.text
            encoding = self.backend.encode(text, pair, add_special_tokens=piece.special)
            for field, index in piece.cuttable(encoding):
                cuttable[field].append(len(ids) + index)
            ids += encoding.ids
            types += encoding.type_ids
        lengths = [len(indices) for indices in cuttable.values()]
        fixed = len(ids) - sum(lengths)
        if limit < fixed:
            what = "special tokens" if pieces[0].places is None else "tokens of the template"
            raise PromptError(f"{limit} tokens leave no room for the {fixed} {what}")
        usual: Strategy = "longest_first" if pieces[0].places is None else "second_first"
        strategy = option.strategy or option.texts.strategy or usual
        if not lengths[1]:
            strategy = "longest_first"  # there is one text
        cut: set[int] = set()
        for indices, keep in zip(cuttable.values(), _kept_lengths(lengths, limit - fixed, strategy), strict=True):
            right = (option.side or self.side) == "right"
            cut.update(indices[keep:] if right else indices[: len(indices) - keep])
        return TokensPrompt(self._ended(_without(ids, cut)), _without(types, cut) if self._has_types else None)

    def _locate(self, prompt: TextPrompt, encoding: Encoding, option: TokenizeOptions) -> TextTokens:
        """A single text with all that is known of its tokens."""
        assert self.backend is not None
        text = self._texts(prompt, option)["text"]
        if len(text) != len(prompt.text):
            raise PromptError("this text changes its length in lower case: its tokens cannot be found in it")
        if option.max_tokens is not None and len(encoding) > option.max_tokens:
            special = self.backend.num_special_tokens_to_add(False) if option.add_special_tokens else 0
            if option.max_tokens < special:
                raise PromptError(f"{option.max_tokens} tokens leave no room for the {special} special tokens")
            encoding = self.backend.encode(text, add_special_tokens=False)
            encoding.truncate(option.max_tokens - special, direction=option.side or self.side)
            encoding = self.backend.post_process(encoding, add_special_tokens=option.add_special_tokens)
        types = encoding.type_ids if self._has_types else None
        return TextTokens(encoding.ids, types, text=prompt.text, encoding=encoding)

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
                f"the prompt has {len(ids)} tokens, but the model takes at most {self.max_len}; shorten it, or have it "
                "cut with truncate_prompt_tokens=-1"
            )
        if min(ids) < 0 or max(ids) >= self.vocab_size:
            wrong = next(i for i in ids if not 0 <= i < self.vocab_size)
            raise PromptError(f"token id {wrong} is out of range: the vocabulary has {self.vocab_size} entries")
        types = tokens.token_type_ids
        if types is not None and any(types) and (min(types) < 0 or max(types) >= self.num_token_types):
            raise PromptError(f"token_type_ids must be below {self.num_token_types} for this model, got {max(types)}")
        return tokens


def _joined(parts: list[list[int]]) -> list[int]:
    return parts[0] if len(parts) == 1 else list(itertools.chain.from_iterable(parts))


def _without(items: list[int], cut: set[int]) -> list[int]:
    return [item for index, item in enumerate(items) if index not in cut]


def _kept_lengths(lengths: Sequence[int], budget: int, strategy: Strategy) -> tuple[int, int]:
    """How much of two texts to keep, as transformers' truncation strategies say."""
    first, second = lengths
    match strategy:
        case "second_first":
            kept = min(first, budget)
            return kept, min(second, budget - kept)
        case "only_first" | "only_second":
            other = second if strategy == "only_first" else first
            if budget < other:
                raise PromptError(f"truncation='{strategy}': the other text alone has {other} tokens")
            return (budget - other, other) if strategy == "only_first" else (other, budget - other)
        case "longest_first":
            short, long = sorted(lengths)
            if short + long > budget:
                long = max(short, budget - short)
                if short + long > budget:
                    short, long = budget // 2, budget // 2 + budget % 2
            return (short, long) if first <= second else (long, short)

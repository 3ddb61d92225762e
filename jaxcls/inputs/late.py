"""Queries and documents of late interaction models, as PyLate gives them to the network."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxcls.config.files import read_json
from jaxcls.config.late import LateInteraction
from jaxcls.errors import ConfigError, PromptError
from jaxcls.inputs.load_tokenizer import token_id
from jaxcls.inputs.prompt import TextPrompt, TokensPrompt
from jaxcls.inputs.tokenize import TextTokenizer
from jaxcls.inputs.tokenize_options import TokenizeOptions, tokenize_options


@dataclasses.dataclass(frozen=True)
class Preparation:
    """What becomes of a query, or of a document.

    Attributes:
        tokenizer: of the model.
        options: how a text is tokenised, without its prefix.
        length: tokens to which it is cut.
        prefix: the token after the first; None: none is put there.
        expansion: the token that fills it to its length; None: it is not filled.
        expansion_is_seen: whether the other tokens see these.
        skipped: tokens whose embeddings are left out.
    """

    tokenizer: TextTokenizer
    options: TokenizeOptions
    length: int
    prefix: int | None
    expansion: int | None
    expansion_is_seen: bool
    skipped: frozenset[int]

    @classmethod
    def of(
        cls, tokenizer: TextTokenizer, late: LateInteraction, tokenization: Mapping[str, Any] | None, *, is_query: bool
    ) -> "Preparation":
        """The preparation that a checkpoint's settings ask for.

        Raises:
            ConfigError: there is no tokenizer, it lacks a token that the settings name, or `tokenization` truncates.
        """
        backend = tokenizer.backend
        if backend is None:
            raise ConfigError("queries and documents are prepared by the tokenizer, which this LLM has none of")
        prefix, length = late.document_prefix, late.document_length
        if is_query:
            prefix, length = late.query_prefix, late.query_length
        options = tokenize_options(tokenization, max_len=tokenizer.max_len)
        if options.max_tokens is not None:
            raise ConfigError(f"texts are cut to the {length} tokens that the checkpoint says: leave truncation out")
        # A word that is no token cannot be left out.
        skipped = (backend.token_to_id(word) for word in late.skiplist_words if not is_query)
        return cls(
            tokenizer=tokenizer,
            options=dataclasses.replace(options, max_tokens=length - bool(prefix)),
            length=length,
            prefix=token_id(backend, prefix, whole=True) if prefix else None,
            expansion=_mask_id(tokenizer) if is_query and late.do_query_expansion else None,
            expansion_is_seen=late.attend_to_expansion_tokens,
            skipped=frozenset(token for token in skipped if token is not None),
        )

    def __call__(self, prompt: TextPrompt | TokensPrompt) -> TokensPrompt:
        """Token ids of a text.

        Raises:
            PromptError: it cannot be tokenised, or is token ids already.
        """
        if isinstance(prompt, TokensPrompt):
            raise PromptError("queries and documents are texts: their tokens are prepared by the tokenizer")
        (tokens,) = self.tokenizer([prompt], [self.options])
        if isinstance(tokens, PromptError):
            raise tokens
        return self._complete(tokens)

    def _complete(self, tokens: TokensPrompt) -> TokensPrompt:
        ids, types = list(tokens.token_ids), tokens.token_type_ids
        types = None if types is None else list(types)
        if self.prefix is not None:
            ids.insert(1, self.prefix)
            if types is not None:
                types.insert(1, 0)
        if self.expansion is None:
            return TokensPrompt(ids, types)
        filled = self.length - len(ids)
        ids += [self.expansion] * filled
        if types is not None:
            types += [0] * filled
        return TokensPrompt(ids, types, num_unseen=0 if self.expansion_is_seen else filled)


def _mask_id(tokenizer: TextTokenizer) -> int:
    """The mask token; of tokenizers without one the token that ends a text."""
    assert tokenizer.backend is not None
    for name in ("mask_token", "eos_token"):
        for file in ("tokenizer_config.json", "special_tokens_map.json"):
            token = read_json(tokenizer.path / file).get(name) if tokenizer.path is not None else None
            content = token.get("content") if isinstance(token, dict) else token
            if content is not None:
                return token_id(tokenizer.backend, content, whole=True)
    raise ConfigError("queries are filled with the mask token, which the tokenizer's files do not name")

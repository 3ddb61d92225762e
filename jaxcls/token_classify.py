"""Texts -> spans: offsets on the way in, aggregation on the way out."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxcls.engine.call import Call, PromptParams
from jaxcls.engine.request import Finished
from jaxcls.engine.setup import Model
from jaxcls.errors import ConfigError, PromptError
from jaxcls.inputs.prompt import TextPrompt, parse_prompt
from jaxcls.inputs.tokenize import TextTokenizer, TextTokens
from jaxcls.outputs import TokenClassificationOutput
from jaxcls.pooling_params import PoolingParams
from jaxcls.spans import AGGREGATIONS, Aggregation, Token, spans


def token_classify_call(
    model: Model,
    *,
    aggregation: Aggregation = "none",
    ignore: Sequence[str] = ("O",),
    tokenization: dict[str, Any] | None = None,
) -> Call[TokenClassificationOutput]:
    """An item is a text, see `LLM.token_classify`."""
    _check_head(model)
    if aggregation not in AGGREGATIONS:
        raise ConfigError(f"aggregation must be one of {', '.join(AGGREGATIONS)}, got {aggregation!r}")
    tokenizer = model.tokenizer
    if tokenizer.backend is None or tokenizer.single is not None:
        raise ConfigError("tokens are found in texts: this needs a tokenizer, and no prompt_template")
    names, decoder = model.checkpoint.labels.names, tokenizer.backend.decoder
    join = " ".join if decoder is None else decoder.decode

    def output(_: Any, rows: Sequence[Finished]) -> TokenClassificationOutput:
        text = rows[0].request.tokens
        assert isinstance(text, TextTokens)
        tokens = _tokens(tokenizer, text, rows[0].probs)
        return TokenClassificationOutput(spans(tokens, names, aggregation, ignore=ignore, join=join))

    params = PromptParams(PoolingParams(use_activation=True), tokenization)
    return Call("token_classify", output, expand=_text, params=params)


def _text(item: Any) -> list[TextPrompt]:
    prompt = parse_prompt(item)
    if not isinstance(prompt, TextPrompt) or prompt.text_pair is not None:
        raise PromptError("token_classify takes texts, one string each: spans lie in a text")
    return [dataclasses.replace(prompt, located=True)]


def _check_head(model: Model) -> None:
    checkpoint = model.checkpoint
    checkpoint.check_task("token_classify")
    if checkpoint.tasks != ("token_classify",) or checkpoint.pooling_type == "STEP":
        raise ConfigError(
            f"the head of {checkpoint.name} was not trained to label tokens: spans of it would mean nothing. Use "
            "classify; for its scores at every token, encode with pooling_task='token_classify'"
        )
    if checkpoint.activation.name != "softmax":
        raise ConfigError(
            f"the classes of this model do not compete ({checkpoint.activation.reason}), so tokens have no one label; "
            "use encode with pooling_task='token_classify'"
        )


def _tokens(tokenizer: TextTokenizer, source: TextTokens, probs: Float[np.ndarray, "T C"]) -> list[Token]:
    """The tokens that stand for text; special ones have no place in it.

    Whether a token continues a word is found as transformers does it: from the length of a token that the vocabulary
    marks as a continuation ("##ing"), else from the spaces before it.
    """
    backend = tokenizer.backend
    prefix = getattr(backend.model, "continuing_subword_prefix", None) if backend is not None else None
    text, encoding = source.text, source.encoding
    tokens: list[Token] = []
    for index, (name, (start, end), special) in enumerate(
        zip(encoding.tokens, encoding.offsets, encoding.special_tokens_mask, strict=True)
    ):
        if special:
            continue
        unknown = name == tokenizer.unk_token
        after_space = start == 0 or " " in text[start - 1 : start + 1]
        continues = len(name) != end - start if prefix else not after_space
        shown = text[start:end] if unknown else name
        tokens.append(Token(shown, start, end, index, continues and not unknown, probs[index]))
    return tokens

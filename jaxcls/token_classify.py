"""Texts -> spans: offsets on the way in, aggregation on the way out."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxcls.engine.call import Call
from jaxcls.engine.request import Outcome
from jaxcls.engine.setup import Model
from jaxcls.errors import ConfigError, PromptError
from jaxcls.inputs.prompt import TextPrompt, parse_prompt, prompt_list
from jaxcls.inputs.tokenize import TextTokenizer, TextTokens, tokenize_options
from jaxcls.outputs import RequestOutput, TokenClassificationOutput
from jaxcls.pooling_params import PoolingParams
from jaxcls.spans import AGGREGATIONS, Aggregation, Token, spans


def token_classify_call(
    model: Model, texts: Any, *, aggregation: Aggregation, ignore: Sequence[str], tokenization: dict[str, Any] | None
) -> Call[TokenClassificationOutput]:
    """Every text, tokenised with offsets; see `LLM.token_classify`."""
    _check_head(model)
    if aggregation not in AGGREGATIONS:
        raise ConfigError(f"aggregation must be one of {', '.join(AGGREGATIONS)}, got {aggregation!r}")
    options = tokenize_options(tokenization, max_len=model.checkpoint.max_len)
    read = model.tokenizer.with_offsets([_text(text) for text in prompt_list(texts)], options)
    names, backend = model.checkpoint.labels.names, model.tokenizer.backend
    decoder = None if backend is None else backend.decoder
    join = " ".join if decoder is None else decoder.decode

    def output(outcome: Outcome, text: TextTokens | PromptError) -> RequestOutput[TokenClassificationOutput]:
        found = None
        if outcome.error is None and outcome.finished is not None and isinstance(text, TextTokens):
            tokens = _tokens(model.tokenizer, text, outcome.finished.probs)
            found = TokenClassificationOutput(spans(tokens, names, aggregation, ignore=ignore, join=join))
        return RequestOutput(str(outcome.index), found, outcome.token_ids, outcome.error)

    return Call(
        "token_classify",
        [text if isinstance(text, PromptError) else text.prompt for text in read],
        lambda outcomes: [output(outcome, text) for outcome, text in zip(outcomes, read, strict=True)],
        PoolingParams(use_activation=True),
    )


def _text(text: Any) -> TextPrompt | PromptError:
    try:
        prompt = parse_prompt(text)
    except PromptError as error:
        return error
    if not isinstance(prompt, TextPrompt) or prompt.text_pair is not None:
        return PromptError("token_classify takes texts, one string each: spans lie in a text")
    return prompt


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

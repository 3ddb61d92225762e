"""Texts -> spans: offsets on the way in, aggregation on the way out."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from tokenizers import Encoding

from jaxcls.engine.call import Call
from jaxcls.engine.pipeline import OnError, check_on_error
from jaxcls.engine.request import Outcome
from jaxcls.engine.setup import Model
from jaxcls.errors import ConfigError, PromptError
from jaxcls.inputs.prompt import TextPrompt, TokensPrompt, parse_prompt, prompt_list
from jaxcls.inputs.tokenize import TextTokenizer, TokenizeOptions, tokenize_options
from jaxcls.outputs import RequestOutput, TokenClassificationOutput
from jaxcls.pooling_params import PoolingParams
from jaxcls.spans import AGGREGATIONS, Aggregation, Token, spans


@dataclasses.dataclass(frozen=True)
class _Text:
    text: str
    tokens: TokensPrompt
    encoding: Encoding


def token_classify_call(
    model: Model,
    texts: Any,
    *,
    aggregation: Aggregation,
    ignore: Sequence[str],
    tokenization: dict[str, Any] | None,
    on_error: OnError,
) -> Call[TokenClassificationOutput]:
    """Every text, tokenised with offsets; see `LLM.token_classify`."""
    check_on_error(on_error)
    _check_head(model)
    if aggregation not in AGGREGATIONS:
        raise ConfigError(f"aggregation must be one of {', '.join(AGGREGATIONS)}, got {aggregation!r}")
    options = tokenize_options(tokenization, max_len=model.checkpoint.max_len)
    read = [_read(model, index, text, options, on_error) for index, text in enumerate(prompt_list(texts))]
    names, backend = model.checkpoint.labels.names, model.tokenizer.backend
    decoder = None if backend is None else backend.decoder
    join = " ".join if decoder is None else decoder.decode

    def finish(outcomes: list[Outcome]) -> list[RequestOutput[TokenClassificationOutput]]:
        done = iter(outcomes)
        results: list[RequestOutput[TokenClassificationOutput]] = []
        for index, text in enumerate(read):
            if isinstance(text, PromptError):
                results.append(RequestOutput(str(index), None, [], text))
                continue
            outcome, output = next(done), None
            if outcome.error is None and outcome.finished is not None:
                tokens = _tokens(model.tokenizer, text, outcome.finished.probs)
                output = TokenClassificationOutput(spans(tokens, names, aggregation, ignore=ignore, join=join))
            results.append(RequestOutput(str(index), output, outcome.token_ids, outcome.error))
        return results

    good = [text.tokens for text in read if isinstance(text, _Text)]
    prompts = [{"prompt_token_ids": tokens.token_ids, "token_type_ids": tokens.token_type_ids} for tokens in good]
    return Call("token_classify", prompts, finish, PoolingParams(use_activation=True))


def _read(model: Model, index: int, text: Any, options: TokenizeOptions, on_error: OnError) -> _Text | PromptError:
    try:
        prompt = parse_prompt(text)
        if not isinstance(prompt, TextPrompt) or prompt.text_pair is not None:
            raise PromptError("token_classify takes texts, one string each: spans lie in a text")
        return _Text(prompt.text, *model.tokenizer.with_offsets(prompt, options))
    except PromptError as error:
        failed = type(error)(error.message, index=index)
        if on_error == "raise":
            raise failed from None
        return failed


def _check_head(model: Model) -> None:
    checkpoint = model.checkpoint
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


def _tokens(tokenizer: TextTokenizer, source: _Text, probs: Float[np.ndarray, "T C"]) -> list[Token]:
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

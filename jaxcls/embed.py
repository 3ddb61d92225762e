"""Embeddings: one of each text, or one of each token; and how alike two are."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxcls.config.embedder import Embedder
from jaxcls.engine.call import Call
from jaxcls.engine.request import Outcome
from jaxcls.engine.setup import Model
from jaxcls.errors import ConfigError, PromptError
from jaxcls.inputs.late import Preparation
from jaxcls.inputs.prompt import TextPrompt, TokensPrompt, parse_prompt, prompt_list
from jaxcls.outputs import EmbeddingOutput, RequestOutput, TokenEmbeddingOutput
from jaxcls.pooling_params import PoolingParams

# What sentence-transformers knows of every embedder.
_PROMPTS = {"query": "", "document": ""}


def embed_call(
    model: Model,
    prompts: Any,
    *,
    dimensions: int | None = None,
    prompt_name: str | None = None,
    prompt: str | None = None,
    params: PoolingParams | Sequence[PoolingParams] | None = None,
    tokenization: dict[str, Any] | None = None,
) -> Call[EmbeddingOutput]:
    """Everything that is embedded, see `LLM.embed`."""
    model.checkpoint.check_task("embed")
    prefix = _prefix(model, prompt_name, prompt)
    return Call(
        "embed",
        [_read(item, prefix) for item in prompt_list(prompts)],
        lambda outcomes: [_output(outcome) for outcome in outcomes],
        _with_dimensions(params, dimensions),
        tokenization,
    )


def token_embed_call(
    model: Model,
    prompts: Any,
    *,
    is_query: bool | None = None,
    prompt_name: str | None = None,
    prompt: str | None = None,
    params: PoolingParams | Sequence[PoolingParams] | None = None,
    tokenization: dict[str, Any] | None = None,
) -> Call[TokenEmbeddingOutput]:
    """All tokens of everything that is embedded, see `LLM.token_embed`."""
    model.checkpoint.check_task("token_embed")
    embedder = model.checkpoint.embedder
    assert embedder is not None
    if (is_query is None) != (embedder.late is None):
        raise ConfigError(
            "this model prepares queries and documents differently: say is_query=True or False"
            if embedder.late is not None
            else f"{model.checkpoint.name} is no late interaction model: it knows no is_query"
        )
    prefix = _prefix(model, prompt_name, prompt)
    read = [_read(item, prefix) for item in prompt_list(prompts)]
    skipped: frozenset[int] = frozenset()
    if embedder.late is not None:
        preparation = Preparation.of(model.tokenizer, embedder.late, is_query=bool(is_query))
        read, skipped = preparation(read, tokenization), preparation.skipped
        tokenization = None

    return Call(
        "token_embed",
        read,
        lambda outcomes: [_token_output(outcome, skipped) for outcome in outcomes],
        params,
        tokenization,
    )


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """The cosine of two embeddings [D], in float64; 0 if one of them is zero."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    lengths = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / lengths) if lengths > 0 else 0.0


def maxsim(query: np.ndarray, document: np.ndarray) -> float:
    """How well a document's tokens [t, d] answer a query's [q, d], in float32: the best match of each, summed."""
    return float((np.asarray(query, np.float32) @ np.asarray(document, np.float32).T).max(axis=1).sum())


def _prefix(model: Model, name: str | None, text: str | None) -> str | None:
    """What is put before texts; None: nobody asks for anything."""
    embedder = model.checkpoint.embedder or Embedder()
    if text is not None and name is not None:
        raise ConfigError("prompt_name and prompt both say what is put before a text: give one of them")
    known = {**_PROMPTS, **embedder.prompts}
    name = name if text is not None or name is not None else embedder.default_prompt
    if name is not None and name not in known:
        raise ConfigError(f"prompt_name = {name!r}: this checkpoint has {', '.join(sorted(known))}")
    prefix = text if name is None else known[name]
    if prefix and not embedder.pools_prompt:
        raise ConfigError(
            f"the Pooling module leaves the prompt {prefix!r} out of the mean (include_prompt is false), which is not "
            "supported: pass prompt='' to embed without one"
        )
    return prefix


def _read(item: Any, prefix: str | None) -> TextPrompt | TokensPrompt | PromptError:
    """A text behind its prompt; token ids as they are."""
    try:
        parsed = parse_prompt(item)
        if isinstance(parsed, TextPrompt) and parsed.text_pair is not None:
            raise PromptError("an embedding is one of a text, not of a pair: give both as texts of their own")
        return TextPrompt((prefix or "") + parsed.text) if isinstance(parsed, TextPrompt) else parsed
    except PromptError as error:
        return error


def _with_dimensions(
    params: PoolingParams | Sequence[PoolingParams] | None, dimensions: int | None
) -> PoolingParams | Sequence[PoolingParams] | None:
    if dimensions is None:
        return params
    listed = [params or PoolingParams()] if params is None or isinstance(params, PoolingParams) else list(params)
    if any(one.dimensions is not None for one in listed):
        raise ConfigError("dimensions are given both to the call and in pooling_params: give one of them")
    values = [PoolingParams(**{**one.model_dump(), "dimensions": dimensions}) for one in listed]
    return values[0] if params is None or isinstance(params, PoolingParams) else values


def _output(outcome: Outcome) -> RequestOutput[EmbeddingOutput]:
    output = None
    if outcome.error is None and outcome.finished is not None:
        # A copy: the row is a view of a whole step's array.
        output = EmbeddingOutput(outcome.finished.probs.copy())
    return RequestOutput(str(outcome.index), output, outcome.token_ids, outcome.error)


def _token_output(outcome: Outcome, skipped: frozenset[int]) -> RequestOutput[TokenEmbeddingOutput]:
    output = None
    if outcome.error is None and outcome.finished is not None:
        kept = [i for i, token in enumerate(outcome.token_ids) if token not in skipped]
        output = TokenEmbeddingOutput(outcome.finished.probs[kept], [outcome.token_ids[i] for i in kept])
    return RequestOutput(str(outcome.index), output, outcome.token_ids, outcome.error)

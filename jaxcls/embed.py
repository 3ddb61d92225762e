"""Embeddings: one of each text, or one of each token; and how alike two are."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxcls.config.embedder import Embedder
from jaxcls.engine.call import Call, PromptParams
from jaxcls.engine.request import Finished
from jaxcls.engine.setup import Model
from jaxcls.errors import ConfigError, PromptError
from jaxcls.inputs.late import Preparation
from jaxcls.inputs.prompt import TextPrompt, TokensPrompt, parse_prompt
from jaxcls.outputs import EmbeddingOutput, TokenEmbeddingOutput
from jaxcls.pooling_params import PoolingParams

Params = PoolingParams | Sequence[PoolingParams] | None

# What sentence-transformers knows of every embedder.
_PROMPTS = {"query": "", "document": ""}


def embed_call(
    model: Model,
    pooling: Params = None,
    tokenization: dict[str, Any] | None = None,
    *,
    dimensions: int | None = None,
    prompt_name: str | None = None,
    prompt: str | None = None,
) -> Call[EmbeddingOutput]:
    """An item is a prompt, see `LLM.embed`."""
    model.checkpoint.check_task("embed")
    prefix = _prefix(model, prompt_name, prompt)

    def output(_: Any, rows: Sequence[Finished]) -> EmbeddingOutput:
        # A copy: the row is a view of a whole step's array.
        return EmbeddingOutput(rows[0].probs.copy())

    params = PromptParams(_with_dimensions(pooling, dimensions), tokenization)
    return Call("embed", output, expand=lambda item: [_read(item, prefix)], params=params)


def token_embed_call(
    model: Model,
    pooling: Params = None,
    tokenization: dict[str, Any] | None = None,
    *,
    is_query: bool | None = None,
    prompt_name: str | None = None,
    prompt: str | None = None,
) -> Call[TokenEmbeddingOutput]:
    """An item is a prompt, of late interaction models a query or a document; see `LLM.token_embed`."""
    model.checkpoint.check_task("token_embed")
    late = None if model.checkpoint.embedder is None else model.checkpoint.embedder.late
    prefix = _prefix(model, prompt_name, prompt)
    if late is None and is_query is not None:
        raise ConfigError(f"{model.checkpoint.name} is no late interaction model: it knows no is_query")
    if late is None:
        params = PromptParams(pooling, tokenization)
        return Call("token_embed", _tokens, expand=lambda item: [_read(item, prefix)], params=params)
    if is_query is None:
        raise ConfigError("this model prepares queries and documents differently: say is_query=True or False")
    if any(params.truncate_prompt_tokens is not None for params in _listed(pooling)):
        raise ConfigError(
            "pooling_params: the checkpoint says how long its texts are: leave truncate_prompt_tokens out"
        )
    prepare = Preparation.of(model.tokenizer, late, tokenization, is_query=is_query)
    return Call(
        "token_embed",
        lambda _, rows: _tokens(_, rows, prepare.skipped),
        expand=lambda item: [prepare(_read(item, prefix))],
        params=PromptParams(pooling),
    )


def cosine(a: Float[np.ndarray, " D"], b: Float[np.ndarray, " D"]) -> float:
    """The cosine of two embeddings, in float64; 0 if one of them is zero."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    lengths = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / lengths) if lengths > 0 else 0.0


def maxsim(query: Float[np.ndarray, "q D"], document: Float[np.ndarray, "t D"]) -> float:
    """How well a document's tokens answer a query's, in float32: the best product of each of these, summed."""
    products = np.asarray(query, np.float32) @ np.asarray(document, np.float32).T
    return float(products.max(axis=1).sum())


def _tokens(_: Any, rows: Sequence[Finished], skipped: frozenset[int] = frozenset()) -> TokenEmbeddingOutput:
    ids = rows[0].request.tokens.token_ids
    kept = [i for i, token in enumerate(ids) if token not in skipped]
    return TokenEmbeddingOutput(rows[0].probs[kept], [ids[i] for i in kept])


def _prefix(model: Model, name: str | None, text: str | None) -> str:
    """What is put before texts."""
    embedder = model.checkpoint.embedder or Embedder()
    if text is not None and name is not None:
        raise ConfigError("prompt_name and prompt both say what is put before a text: give one of them")
    known = {**_PROMPTS, **embedder.prompts}
    name = embedder.default_prompt if name is None and text is None else name
    if name is not None and name not in known:
        raise ConfigError(f"prompt_name = {name!r}: this checkpoint has {', '.join(sorted(known))}")
    prefix = text or "" if name is None else known[name]
    if prefix and not embedder.pools_prompt:
        raise ConfigError(
            f"the Pooling module leaves the prompt {prefix!r} out of the mean (include_prompt is false), which is not "
            "supported: pass prompt='' to embed without one"
        )
    return prefix


def _read(item: Any, prefix: str) -> TextPrompt | TokensPrompt:
    """A text behind its prompt; token ids and conversations as they are."""
    parsed = parse_prompt(item)
    if isinstance(parsed, TokensPrompt) or parsed.template is not None:
        return parsed
    if parsed.text_pair is not None:
        raise PromptError("an embedding is one of a text, not of a pair: give both as texts of their own")
    return TextPrompt(prefix + parsed.text)


def _with_dimensions(params: Params, dimensions: int | None) -> Params:
    if dimensions is None:
        return params
    if any(given.dimensions is not None for given in _listed(params)):
        raise ConfigError("dimensions are given both to the call and in pooling_params: give one of them")
    values = [PoolingParams(**{**given.model_dump(), "dimensions": dimensions}) for given in _listed(params)]
    return values if isinstance(params, Sequence) else values[0]


def _listed(params: Params) -> Sequence[PoolingParams]:
    return params if isinstance(params, Sequence) else [params or PoolingParams()]

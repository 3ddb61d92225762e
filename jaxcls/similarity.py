"""Scores of pairs by an embedder: how alike two embeddings are, or how well a document's tokens answer a query's."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxcls.config.embedder import Embedder
from jaxcls.embed import cosine, embed_call, maxsim, token_embed_call
from jaxcls.engine.call import Call, EnginePrompt
from jaxcls.engine.request import Finished
from jaxcls.engine.setup import Model
from jaxcls.errors import ConfigError
from jaxcls.outputs import ScoringOutput
from jaxcls.pooling_params import PoolingParams

Vector = Float[np.ndarray, " D"]

# By their names in sentence-transformers: the greater, the more alike.
_SIMILARITIES: dict[str, Callable[[Vector, Vector], float]] = {
    "cosine": cosine,
    "dot": lambda a, b: float(np.dot(a.astype(np.float64), b)),
    "euclidean": lambda a, b: -float(np.linalg.norm(a.astype(np.float64) - b)),
    "manhattan": lambda a, b: -float(np.abs(a.astype(np.float64) - b).sum()),
}


def similarity_call(
    model: Model,
    texts: Callable[[Any], tuple[str, str]],
    pooling: PoolingParams | None,
    tokenization: dict[str, Any] | None,
) -> Call[ScoringOutput]:
    """An item is a query and a document, each embedded as what it is: with the checkpoint's prompt for it.

    Args:
        model: an embedder.
        texts: an item -> its two texts.
        pooling: of all texts.
        tokenization: `tokenization_kwargs`, which late interaction models settle themselves.

    Raises:
        ConfigError: a similarity, or options, that this model does not have.
    """
    embedder = model.checkpoint.embedder or Embedder()
    query, document, alike = (_late if embedder.late is not None else _whole)(model, embedder, pooling, tokenization)

    def prompts(item: Any) -> list[EnginePrompt]:
        first, second = texts(item)
        return [*query.expand(first), *document.expand(second)]

    def output(item: Any, rows: Sequence[Finished]) -> ScoringOutput:
        score = alike(query.reduce(item, rows[:1]), document.reduce(item, rows[1:]))
        return ScoringOutput(score, score)

    return Call(query.task, output, prompts, query.params, repeats=True)


_Parts = tuple[Call[Any], Call[Any], Callable[[Any, Any], float]]


def _whole(model: Model, embedder: Embedder, pooling: PoolingParams | None, tokenization: Any) -> _Parts:
    if embedder.similarity not in _SIMILARITIES:
        known = ", ".join(_SIMILARITIES)
        raise ConfigError(f"similarity_fn_name = {embedder.similarity!r} of this checkpoint is none of {known}")
    query, document = (embed_call(model, pooling, tokenization, prompt_name=name) for name in ("query", "document"))
    similarity = _SIMILARITIES[embedder.similarity]
    return query, document, lambda a, b: similarity(a.embedding, b.embedding)


def _late(model: Model, _: Embedder, pooling: PoolingParams | None, tokenization: Any) -> _Parts:
    query, document = (
        token_embed_call(model, pooling, tokenization, is_query=name == "query", prompt_name=name)
        for name in ("query", "document")
    )
    return query, document, lambda a, b: maxsim(a.embeddings, b.embeddings)

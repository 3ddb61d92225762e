"""Scores of pairs by an embedder: how alike two embeddings are, or how well a document's tokens answer a query's."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxcls.config.embedder import Embedder
from jaxcls.config.late import LateInteraction
from jaxcls.embed import cosine, maxsim, prompt_prefix, read_text, token_rows
from jaxcls.engine.call import Call, PromptParams
from jaxcls.engine.request import Finished
from jaxcls.engine.setup import Model
from jaxcls.errors import ConfigError
from jaxcls.inputs.late import Preparation
from jaxcls.inputs.prompt import TextPrompt, TokensPrompt
from jaxcls.outputs import ScoringOutput
from jaxcls.pooling_params import PoolingParams

Texts = tuple[str, str]
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
    texts: Callable[[Any], Texts],
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
    prefixes = [prompt_prefix(model, name, None) for name in ("query", "document")]
    embedder = model.checkpoint.embedder or Embedder()
    if embedder.late is not None:
        return _late_call(model, texts, embedder.late, prefixes, tokenization)
    if embedder.similarity not in _SIMILARITIES:
        known = ", ".join(_SIMILARITIES)
        raise ConfigError(f"similarity_fn_name = {embedder.similarity!r} of this checkpoint is none of {known}")
    similarity = _SIMILARITIES[embedder.similarity]

    def prompts(item: Any) -> list[TextPrompt | TokensPrompt]:
        return [read_text(text, prefix) for text, prefix in zip(texts(item), prefixes, strict=True)]

    def output(_: Any, rows: Sequence[Finished]) -> ScoringOutput:
        score = similarity(rows[0].probs, rows[1].probs)
        return ScoringOutput(score, score)

    return Call("embed", output, prompts, PromptParams(pooling, tokenization))


def _late_call(
    model: Model,
    texts: Callable[[Any], Texts],
    late: LateInteraction,
    prefixes: Sequence[str],
    tokenization: dict[str, Any] | None,
) -> Call[ScoringOutput]:
    query, document = (Preparation.of(model.tokenizer, late, tokenization, is_query=kind) for kind in (True, False))

    def prompts(item: Any) -> list[TokensPrompt]:
        both = [read_text(text, prefix) for text, prefix in zip(texts(item), prefixes, strict=True)]
        return [query(both[0]), document(both[1])]

    def output(item: Any, rows: Sequence[Finished]) -> ScoringOutput:
        tokens = [
            token_rows(item, [row], part.skipped).embeddings for row, part in zip(rows, (query, document), strict=True)
        ]
        score = maxsim(*tokens)
        return ScoringOutput(score, score)

    return Call("token_embed", output, prompts)

"""/score and /rerank."""

import functools
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter

from jaxcls.outputs import RequestOutput, ScoringOutput, Timings
from jaxcls.pooling_params import PoolingParams
from jaxcls.ranking import Pair, Ranking, score_pairs, text_of
from jaxcls.server.api import Api, head, timings_body, usage
from jaxcls.server.bodies import Body
from jaxcls.server.errors import ApiError
from jaxcls.server.schemas.scoring import (
    RERANK_FORMS,
    ContentDocument,
    RerankBody,
    RerankRequest,
    RerankResponse,
    ScoreRequest,
    ScoreResponse,
    TeiRank,
    TeiRerankRequest,
    TextDocument,
)

SCORE: Body[ScoreRequest] = Body(ScoreRequest)
RERANK: Body[Any] = Body(RerankBody, RERANK_FORMS)


def router(api: Api) -> APIRouter:
    """The routes, of models that score pairs."""
    routes = APIRouter()
    if can_score(api):
        answer = functools.partial(score, api)
        api.post(routes, ["/score", "/v1/score"], SCORE, answer, ScoreResponse, "Score pairs")
        ranked = functools.partial(rerank, api)
        paths = ["/rerank", "/v1/rerank", "/v2/rerank"]
        api.post(routes, paths, RERANK, ranked, RerankResponse | list[TeiRank], "Rank documents by a query")
    return routes


def can_score(api: Api) -> bool:
    """Whether the model scores pairs: cross-encoders and embedders do; classifiers by the score of one class."""
    return api.llm.model.checkpoint.tasks[0] != "token_classify"


async def score(api: Api, body: ScoreRequest, request_id: str) -> dict[str, Any]:
    """Answers /score."""
    queries, documents = _texts(body.queries), _texts(body.documents)
    pairs = score_pairs(queries, documents)
    items = ["documents" if len(pairs) == 1 else f"documents[{index}]" for index in range(len(pairs))]
    outputs = await _scores(api, body, pairs, items)
    data: list[dict[str, Any]] = []
    for index, output in enumerate(outputs):
        assert output.outputs is not None, "errors were raised"
        logit = {"logit": output.outputs.logit} if body.return_logits else {}
        timings = {"timings": timings_body(output.timings)} if body.return_timings else {}
        data.append({"index": index, "object": "score", "score": output.outputs.score, **logit, **timings})
    return {**head("score", request_id, api.settings.model_names[0]), "data": data, "usage": usage(outputs)}


async def rerank(api: Api, body: RerankRequest | TeiRerankRequest, request_id: str) -> Any:
    """Answers /rerank."""
    if isinstance(body, TeiRerankRequest):
        return await _tei_rerank(api, body)
    query, documents = _texts(body.query)[0], _texts(body.documents)
    items = ["documents" if len(documents) == 1 else f"documents[{index}]" for index in range(len(documents))]
    outputs = await _scores(api, body, [(query, document) for document in documents], items)
    ranking = Ranking(body.top_n or None, body.score_threshold, body.return_documents)
    results: list[dict[str, Any]] = []
    for result in ranking.of([output.outputs.score for output in outputs if output.outputs], documents):
        document = {} if result.document is None else {"document": {"text": result.document, "multi_modal": None}}
        results.append({"index": result.index, **document, "relevance_score": result.score})
    counted = usage(outputs)
    timings = {"timings": timings_body(_longest(outputs))} if body.return_timings else {}
    return {
        "id": f"score-{request_id}",
        "model": api.settings.model_names[0],
        "usage": {name: counted[name] for name in ("prompt_tokens", "total_tokens")},
        "results": results,
        **timings,
    }


async def _tei_rerank(api: Api, body: TeiRerankRequest) -> list[dict[str, Any]]:
    asked = RerankRequest(query=body.query, documents=list(body.texts), use_activation=not body.raw_scores)
    if body.truncate:
        side: Any = body.truncation_direction.lower()
        asked = asked.model_copy(update={"truncate_prompt_tokens": -1, "truncation_side": side})
    items = [f"texts[{index}]" for index in range(len(body.texts))]
    outputs = await _scores(api, asked, [(body.query, text) for text in body.texts], items)
    ranking = Ranking(return_documents=body.return_text)
    ranked = ranking.of([output.outputs.score for output in outputs if output.outputs], body.texts)
    return [
        {"index": rank.index, **({} if rank.document is None else {"text": rank.document}), "score": rank.score}
        for rank in ranked
    ]


async def _scores(
    api: Api, body: ScoreRequest | RerankRequest, pairs: list[Pair], items: list[str]
) -> list[RequestOutput[ScoringOutput]]:
    checkpoint = api.llm.model.checkpoint
    if checkpoint.embedder is None and len(checkpoint.labels.names) > 1 and body.label is None:
        names = ", ".join(checkpoint.labels.names)
        raise ApiError(
            404,
            f"The model has {len(checkpoint.labels.names)} classes ({names}), not one score: say which class's score "
            f"it is with label, for example {checkpoint.labels.names[-1]!r}",
            param="label",
        )
    texts = {item: text_of(document) for item, (_, document) in zip(items, pairs, strict=True)}
    api.check_request(body, {**texts, "query": max((text_of(query) for query, _ in pairs), key=len)}, len(pairs))
    params: PoolingParams = body.pooling(use_activation=body.use_activation)
    queries, documents = ([pair[side] for pair in pairs] for side in (0, 1))
    tokenization = body.tokenization()
    options: Any = {**body.options(), "pooling_params": params, "tokenization_kwargs": tokenization or None}
    return await api.run(items, api.llm.score(queries, documents, **options))


def _texts(given: Any) -> list[str]:
    return [_text(item) for item in (given if isinstance(given, list) else [given])]


def _text(item: Any) -> str:
    if isinstance(item, TextDocument):
        return item.text
    return text_of(item.model_dump() if isinstance(item, ContentDocument) else item)


def _longest(outputs: Sequence[RequestOutput[Any]]) -> Timings | None:
    """Of all documents together: the last is there when the answer is."""
    known = [output.timings for output in outputs if output.timings is not None]
    return max(known, key=lambda timings: timings.queue + timings.compute) if known else None

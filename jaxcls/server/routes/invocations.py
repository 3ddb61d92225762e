"""/invocations: one route for the bodies of all, as SageMaker calls models."""

import functools
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter

from jaxcls.server.api import Api
from jaxcls.server.bodies import Body
from jaxcls.server.errors import ApiError, bad_request
from jaxcls.server.routes.classify import CLASSIFY, classify
from jaxcls.server.routes.pooling import EMBEDDINGS, POOLING, embeddings, pooling
from jaxcls.server.routes.scoring import RERANK, SCORE, can_score, rerank, score

_ANYTHING: Body[dict[str, Any]] = Body(dict[str, Any])
_Route = tuple[str, Body[Any], Callable[[Api, Any, str], Awaitable[Any]]]


def router(api: Api) -> APIRouter:
    """The route."""
    routes = APIRouter()
    answer = functools.partial(_answer, api, _handlers(api))
    api.post(routes, ["/invocations"], _ANYTHING, answer, dict[str, Any] | list[Any], "Whatever the body is for")
    return routes


def _handlers(api: Api) -> list[_Route]:
    """What bodies are tried as, in vLLM's order."""
    tasks = api.llm.model.checkpoint.tasks
    handlers: list[_Route] = []
    if "embed" in tasks:
        handlers.append(("embeddings", EMBEDDINGS, embeddings))
    if "classify" in tasks:
        handlers.append(("classify", CLASSIFY, classify))
    if can_score(api):
        handlers += [("rerank", RERANK, rerank), ("score", SCORE, score)]
    return [*handlers, ("pooling", POOLING, pooling)]


async def _answer(api: Api, handlers: list[_Route], value: dict[str, Any], request_id: str) -> Any:
    reasons: list[str] = []
    for name, body, answer in handlers:
        try:
            request = body.check(value)
        except ApiError as error:
            reasons.append(f"{name}: {error.message}")
            continue
        return await answer(api, request, getattr(request, "request_id", None) or request_id)
    known = [name for name, _, _ in handlers]
    raise bad_request(
        f"Cannot find suitable handler for request. Expected one of: {known}. {' | '.join(reasons)}"[:1000]
    )

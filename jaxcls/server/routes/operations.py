"""What operators and clients ask of the server itself."""

import time
from typing import Any, Literal

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel
from starlette.responses import PlainTextResponse, Response

import jaxcls
from jaxcls.server.api import FAILURES, Api
from jaxcls.server.errors import ApiError, error_response


class ModelCard(BaseModel):
    """A served model.

    Attributes:
        id: its name.
        object: "model".
        created: when it was loaded, in seconds since 1970.
        owned_by: "jaxcls".
        root: the model that it is a name of.
        parent: null: there are no adapters.
        max_model_len: its longest prompt in tokens.
        permission: none is needed.
    """

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["jaxcls"] = "jaxcls"
    root: str
    parent: str | None = None
    max_model_len: int
    permission: list[Any] = []


class ModelList(BaseModel):
    """All served models."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


class Version(BaseModel):
    """Of jaxcls."""

    version: str


class Load(BaseModel):
    """Requests that are being answered."""

    server_load: int


def router(api: Api) -> APIRouter:
    """Routes of every server."""
    routes = APIRouter()
    names, max_len = api.settings.model_names, api.llm.model.checkpoint.max_len
    cards = [ModelCard(id=name, created=int(time.time()), root=names[0], max_model_len=max_len) for name in names]
    guarded: dict[int | str, dict[str, Any]] = {401: FAILURES[401]}
    unhealthy: dict[int | str, dict[str, Any]] = {503: FAILURES[503]}

    @routes.get("/v1/models", responses=guarded)
    async def models() -> ModelList:
        """The served model, under all its names."""
        return ModelList(data=cards)

    @routes.get("/health", responses=unhealthy, response_class=Response)
    @routes.get("/ping", responses=unhealthy, response_class=Response)
    @routes.post("/ping", responses=unhealthy, response_class=Response)
    async def health() -> Response:
        """200 while the engine answers."""
        if api.llm.loop.healthy:
            return Response()
        return error_response(ApiError(503, "the engine does not answer; restart the server"))

    @routes.get("/version", responses=guarded)
    async def version() -> Version:
        """The version of jaxcls."""
        return Version(version=jaxcls.__version__)

    @routes.get("/load", responses=guarded)
    async def load() -> Load:
        """How many requests are being answered, this one not counted."""
        return Load(server_load=api.metrics.running - 1)

    @routes.get("/metrics", response_class=PlainTextResponse, responses=guarded)
    async def metrics() -> Response:
        """Prometheus metrics."""
        return Response(generate_latest(api.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return routes

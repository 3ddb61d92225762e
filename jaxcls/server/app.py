"""The app of a loaded model: its routes are those that the model can answer."""

from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response

import jaxcls
from jaxcls.errors import JaxclsError
from jaxcls.server import page
from jaxcls.server.api import Api
from jaxcls.server.errors import ApiError, api_error, error_response
from jaxcls.server.metrics import Metrics
from jaxcls.server.middleware import Around
from jaxcls.server.openapi import document
from jaxcls.server.routes import classify, invocations, operations, pooling, scoring, tokens
from jaxcls.server.settings import Settings

if TYPE_CHECKING:
    from jaxcls.async_llm import AsyncLLM

# The page comes last: it offers what there are routes for.
_ROUTES = (classify, pooling, scoring, tokens, invocations, operations, page)


def create_app(llm: "AsyncLLM", settings: Settings) -> FastAPI:
    """The HTTP API of a model; any ASGI server runs it. Whoever made `llm` closes it."""
    metrics = Metrics(llm)
    middleware = [Middleware(Around, settings, metrics)]
    if settings.cors.origins:
        cors = settings.cors
        middleware.insert(
            0,
            Middleware(
                CORSMiddleware,
                allow_origins=cors.origins,
                allow_methods=cors.methods,
                allow_headers=cors.headers,
                allow_credentials=cors.credentials,
            ),
        )
    app = FastAPI(
        title="jaxcls",
        version=jaxcls.__version__,
        description=f"Classification with {settings.model_names[0]}.",
        openapi_url="/openapi.json" if settings.docs else None,
        docs_url=None,  # it takes its scripts from elsewhere
        redoc_url=None,
        root_path=settings.root_path,
        middleware=middleware,
        exception_handlers={
            ApiError: _answer,
            JaxclsError: _answer,
            HTTPException: _http_error,
        },
    )
    api = Api(llm, settings, metrics)
    for module in _ROUTES:
        app.include_router(module.router(api))
    app.openapi = lambda: document(app, api)
    return app


async def _answer(request: Request, error: Exception) -> Response:
    return error_response(api_error(error) or ApiError(500, "the server failed"))


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path, method = request.url.path, request.method
    messages = {
        404: f"there is no {path}; this server's routes are in /openapi.json",
        405: f"{path} does not answer {method}",
    }
    message = messages.get(error.status_code, str(error.detail))
    return error_response(ApiError(error.status_code, message, headers=dict(error.headers or {})))

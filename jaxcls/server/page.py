"""The page for people at `/`: files of `static/`, which need nothing from elsewhere, and what they ask first."""

from functools import partial
from importlib.resources import files

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import Response

from jaxcls.server.api import Api

_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_FILES = {
    "/": "index.html",
    **{f"/page/{name}": name for name in ("page.css", "page.js", "results.js", "snippets.js", "icon.svg")},
}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
# The same of every server: they may be read without an API key, which the page then asks for.
OPEN_PATHS = frozenset(_FILES)


class ServedModel(BaseModel):
    """What the page shows and offers.

    Attributes:
        model: the name that requests give.
        labels: of the classes, in the order of `probs`.
        one_score: whether a pair has one score, so that pairs can be ranked: of a single class, or of embeddings.
        routes: those that take a JSON body; a model has only those that it can answer.
    """

    model: str
    labels: list[str]
    one_score: bool
    routes: list[str]


def router(api: Api) -> APIRouter:
    """The page, its files, and what it asks of the server first."""
    routes = APIRouter(include_in_schema=False)
    for path, name in _FILES.items():
        content = (files("jaxcls.server") / "static" / name).read_bytes()
        routes.add_api_route(path, partial(_file, content, _TYPES[name.rpartition(".")[2]]), methods=["GET"])

    checkpoint = api.llm.model.checkpoint
    labels = list(checkpoint.labels.names)
    about = ServedModel(
        model=api.settings.model_names[0],
        labels=labels,
        one_score=checkpoint.embedder is not None or len(labels) == 1,
        routes=sorted(api.bodies),
    )

    @routes.get("/page/server")
    async def server() -> ServedModel:
        return about

    return routes


async def _file(content: bytes, kind: str) -> Response:
    return Response(content, media_type=kind, headers=_HEADERS)

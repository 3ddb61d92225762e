"""A real server whose behaviour the text of a request decides, and which counts what it did."""

import asyncio
import json
import socket
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web

MODEL = "told"
Behaviour = Callable[["TextServer", web.Request, list[str]], Awaitable[web.StreamResponse]]


def answer(texts: list[str]) -> dict[str, Any]:
    """What /classify answers about texts."""
    data = [{"index": i, "label": "x", "probs": [0.25, 0.75], "num_classes": 2} for i in range(len(texts))]
    return {"id": "classify-1", "object": "list", "created": 1, "model": MODEL, "data": data, "usage": {}}


async def answers(server: "TextServer", request: web.Request, texts: list[str]) -> web.StreamResponse:
    """Answers everything."""
    del server, request
    return web.json_response(answer(texts))


@dataclass
class TextServer:
    """A server in a thread of its own.

    Attributes:
        behave: what it does with a request.
        done: how often each thing was done.
        texts: all that arrived, in order.
        headers: of the last request.
    """

    behave: Behaviour = answers
    done: Counter[str] = field(default_factory=Counter)
    texts: list[str] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(started)))
        self._thread.start()
        assert started.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def _serve(self, started: threading.Event) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application()
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/classify", self._classify)
        runner = web.AppRunner(app, shutdown_timeout=0, handler_cancellation=True)
        await runner.setup()
        await web.SockSite(runner, self._socket).start()
        started.set()
        await self._stop.wait()
        await runner.cleanup()

    async def _models(self, request: web.Request) -> web.StreamResponse:
        del request
        return web.json_response({"object": "list", "data": [{"id": MODEL, "object": "model"}]})

    async def _classify(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        assert body["model"] == MODEL
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        self.texts += texts
        self.headers = dict(request.headers)
        return await self.behave(self, request, texts)

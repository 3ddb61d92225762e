"""Apps over real sockets: a model, uvicorn on a thread, and an HTTP client."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from jaxcls import AsyncLLM
from jaxcls.server.app import create_app
from jaxcls.server.settings import Settings

Serve = Callable[..., Any]


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """An app on a free port; gives its address."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", lifespan="off", ws="none"))
    started = threading.Event()

    async def run() -> None:
        task = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.005)
        started.set()
        await task

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    assert started.wait(20)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def client_of(llm: AsyncLLM, **settings: Any) -> Iterator[httpx.Client]:
    """A client of an app of a model."""
    made = Settings(**{"model_names": ("tiny",), **settings})
    with serving(create_app(llm, made)) as address, httpx.Client(base_url=address, timeout=60) as client:
        yield client


@contextmanager
def opened(path: Path | str, **options: Any) -> Iterator[AsyncLLM]:
    """A loaded model, closed in the end."""
    llm = AsyncLLM(path, **options)
    try:
        yield llm
    finally:
        llm.close()


@pytest.fixture(scope="session")
def online(bert_path: Path) -> Iterator[AsyncLLM]:
    """The tiny BERT with three labels."""
    with opened(bert_path, max_queue=2000) as llm:
        yield llm


@pytest.fixture(scope="session")
def client(online: AsyncLLM) -> Iterator[httpx.Client]:
    """A client of the tiny BERT's app."""
    with client_of(online) as client:
        yield client

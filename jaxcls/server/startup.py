"""A server's life: listening at once, loading, answering when warm, draining at SIGTERM."""

import asyncio
import gc
import logging
import signal
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from jaxcls.errors import ConfigError
from jaxcls.server.app import create_app
from jaxcls.server.errors import ApiError, error_response
from jaxcls.server.settings import Binding, Settings

if TYPE_CHECKING:
    from jaxcls.async_llm import AsyncLLM

log = logging.getLogger("jaxcls.server")

Load = Callable[[], "AsyncLLM"]


def serve(load: Load, settings: Settings, binding: Binding, announce: Callable[[str], None]) -> None:
    """Serves until SIGTERM or SIGINT, and then until what has been asked is answered.

    Args:
        load: loads and warms the model, on a thread.
        settings: what the app does with requests.
        binding: where it listens.
        announce: is told the address, once the model is warm.

    Raises:
        ConfigError: the address cannot be had.
        JaxclsError: whatever `load` raises.
    """
    listener = _listen(binding)
    gate = Gate(load, settings, lambda: announce(_address(binding, listener)))
    server = uvicorn.Server(
        uvicorn.Config(
            gate,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="on",
            root_path=settings.root_path,
            timeout_graceful_shutdown=binding.drain_seconds,
            ssl_certfile=binding.certificate,
            ssl_keyfile=binding.key,
            ssl_ca_certs=None if binding.client_ca is None else str(binding.client_ca),
            ssl_cert_reqs=2 if binding.client_ca is not None else 0,
        )
    )
    gate.stop = lambda: setattr(server, "should_exit", True)
    # Once all is answered uvicorn sends itself the signal that it got; by then there is nothing left to end.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        server.run(sockets=[listener])
    finally:
        listener.close()
        if binding.uds is not None:
            binding.uds.unlink(missing_ok=True)
    if gate.error is not None:
        raise gate.error


class Gate:
    """Answers 503 until the model is warm, then lets everything through to its app.

    Attributes:
        error: why the model could not be loaded.
        stop: ends the server.
    """

    def __init__(self, load: Load, settings: Settings, ready: Callable[[], None]):
        self._load, self._settings, self._ready = load, settings, ready
        self._app: ASGIApp | None = None
        self._llm: AsyncLLM | None = None
        self.error: Exception | None = None
        self.stop: Callable[[], None] = lambda: None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the server's life."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif self._app is not None:
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            loading = ApiError(503, "the model is being loaded; try again", headers={"Retry-After": "2"})
            await error_response(loading)(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        loading = asyncio.create_task(self._open())
        await receive()
        if self._llm is not None:
            await asyncio.to_thread(self._llm.close)
        loading.cancel()
        await send({"type": "lifespan.shutdown.complete"})

    async def _open(self) -> None:
        try:
            self._llm = await asyncio.to_thread(self._load)
            self._app = create_app(self._llm, self._settings)
            # What is there now stays: the collector would stop all requests to walk through hundreds of thousands of
            # objects.
            gc.collect()
            gc.freeze()
        except Exception as error:  # told by whoever called `serve`
            self.error = error
            self.stop()
            return
        self._ready()


def _listen(binding: Binding) -> socket.socket:
    try:
        if binding.uds is not None:
            if binding.uds.is_socket():
                binding.uds.unlink()
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(str(binding.uds))
        else:
            family = socket.AF_INET6 if ":" in binding.host else socket.AF_INET
            listener = socket.socket(family)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((binding.host, binding.port))
    except OSError as error:
        where = binding.uds or f"{binding.host}:{binding.port}"
        raise ConfigError(f"cannot listen on {where}: {error.strerror or error}; choose another with --port") from None
    return listener


def _address(binding: Binding, listener: socket.socket) -> str:
    if binding.uds is not None:
        return f"unix:{binding.uds}"
    host, port = listener.getsockname()[:2]
    return f"{binding.scheme}://{f'[{host}]' if ':' in host else host}:{port}"

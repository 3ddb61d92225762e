"""Around every request: its id, its API key, its line in the log, its count in the metrics."""

import hashlib
import hmac
import logging
import time
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jaxcls.server.api import new_request_id
from jaxcls.server.errors import ApiError, error_response
from jaxcls.server.metrics import Metrics
from jaxcls.server.page import OPEN_PATHS
from jaxcls.server.settings import Settings

log = logging.getLogger("jaxcls.server")

_OPEN = frozenset(("/health", "/ping")) | OPEN_PATHS


class Keys:
    """API keys, compared in constant time."""

    def __init__(self, keys: Iterable[str]):
        self._digests = [hashlib.sha256(key.encode()).digest() for key in keys]

    def accept(self, authorization: str) -> bool:
        """Whether a header "Bearer key" has one of them; always if there are none."""
        scheme, _, key = authorization.partition(" ")
        digest = hashlib.sha256(key.strip().encode()).digest()
        # All are compared, so that time does not tell which.
        found = [hmac.compare_digest(digest, known) for known in self._digests]
        return not self._digests or (scheme.lower() == "bearer" and any(found))


class Around:
    """See the module."""

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics):
        self._app, self._settings, self._metrics = app, settings, metrics
        self._keys = Keys(settings.api_keys)
        self._open = _OPEN if settings.guard_metrics else _OPEN | {"/metrics"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state["request_id"] = new_request_id()
        started, status = time.perf_counter(), 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = state["request_id"]
            await send(message)

        self._metrics.running += 1
        try:
            if scope["path"] in self._open or self._keys.accept(Headers(scope=scope).get("authorization", "")):
                await self._app(scope, receive, answer)
            else:
                refusal = ApiError(
                    401,
                    "the API key is missing or wrong: send the header 'Authorization: Bearer KEY'",
                    headers={"WWW-Authenticate": "Bearer"},
                )
                await error_response(refusal)(scope, receive, answer)
        except Exception:
            log.exception("request failed", extra={"facts": {"request_id": state["request_id"], "path": scope["path"]}})
            if status:
                raise  # half an answer is there already
            failure = ApiError(500, "the server failed; its log says why, under this answer's X-Request-Id")
            await error_response(failure)(scope, receive, answer)
        finally:
            self._metrics.running -= 1
            seconds = time.perf_counter() - started
            route = getattr(scope.get("route"), "path", "unknown")
            self._metrics.answered(route, status, seconds)
            if self._settings.log_requests:
                facts = {"method": scope["method"], "route": route, "status": status, "ms": round(1e3 * seconds, 2)}
                log.info(
                    "request", extra={"facts": {"request_id": state["request_id"], **facts, **state.get("facts", {})}}
                )

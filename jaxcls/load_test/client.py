"""The client: requests that were made beforehand, answers that are checked afterwards."""

import asyncio
import contextlib
import json
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

import aiohttp

from jaxcls.load_test.errors import LoadTestError

# Servers close idle connections after some seconds (uvicorn: 5); a request that meets the close would count as lost.
_KEEP_ALIVE_SECONDS = 2.0
_WRONG = "wrong answer"


@dataclass(frozen=True)
class Target:
    """A server.

    Attributes:
        name: what tables call it.
        url: without a path at its end.
        model: the model that requests name.
        api_key: bearer token of its requests.
    """

    name: str
    url: str
    model: str
    api_key: str | None = None


@dataclass(frozen=True)
class Request:
    """A request that was made beforehand.

    Attributes:
        body: JSON.
        texts: how many results its answer must have.
    """

    body: bytes
    texts: int


@dataclass(frozen=True)
class Sample:
    """What became of a request; seconds of one monotonic clock.

    Attributes:
        scheduled: when it was to be sent.
        sent: when it was.
        done: when its answer was there, or its failure.
        error: what kind of failure; None: the answer is right in form.
    """

    scheduled: float
    sent: float
    done: float
    error: str | None

    @property
    def latency(self) -> float:
        """Seconds from the scheduled arrival: a client that is late does not make a server look fast."""
        return self.done - self.scheduled


class Unanswered(Exception):
    """A request failed.

    Attributes:
        kind: under which it is counted.
    """

    def __init__(self, kind: str):
        super().__init__(kind)
        self.kind = kind


class Client:
    """Connections to one server; as many as there are requests on their way."""

    def __init__(self, target: Target, timeout: float):
        self.target = target
        self._timeout = timeout
        self._url = f"{target.url}/classify"
        self._session = _session(target.api_key)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def send(self, request: Request, scheduled: float) -> Sample:
        """Sends a request now. No failure of a server raises."""
        sent = time.perf_counter()
        try:
            with _failures():
                status, body = await self._post(request, scheduled + self._timeout - sent)
        except Unanswered as failure:
            return Sample(scheduled, sent, time.perf_counter(), failure.kind)
        done = time.perf_counter()
        return Sample(scheduled, sent, done, wrong_form(body, request.texts) if status == 200 else f"HTTP {status}")

    async def explain(self, request: Request) -> str | None:
        """Sends a request; why it was not answered, in the server's own words. None: it was."""
        try:
            with _failures():
                status, body = await self._post(request, self._timeout)
        except Unanswered as failure:
            return failure.kind
        return wrong_form(body, request.texts) if status == 200 else _refusal(status, body)

    async def _post(self, request: Request, seconds: float) -> tuple[int, bytes]:
        async with asyncio.timeout(seconds), self._session.post(self._url, data=request.body) as response:
            return response.status, await response.read()


def make_requests(model: str, texts: Sequence[str], per_request: int) -> list[Request]:
    """The requests that ask for `texts`, a string or a list of strings each."""
    chunks = [texts[i : i + per_request] for i in range(0, len(texts), per_request)]
    bodies = ({"model": model, "input": chunk[0] if per_request == 1 else list(chunk)} for chunk in chunks)
    return [
        Request(json.dumps(body, ensure_ascii=False).encode(), len(chunk))
        for body, chunk in zip(bodies, chunks, strict=True)
    ]


def wrong_form(body: bytes, texts: int) -> str | None:
    """Why an answer of status 200 is not one of /classify about so many texts; None: it is."""
    try:
        data = json.loads(body)["data"]
        right = [item["index"] for item in data] == list(range(texts)) and all(_finite(item["probs"]) for item in data)
    except (ValueError, KeyError, TypeError):
        right = False
    return None if right else _WRONG


def _finite(probs: Iterable[float]) -> bool:
    numbers = list(probs)
    return bool(numbers) and all(map(math.isfinite, numbers))


async def find_target(name: str, url: str, model: str | None, api_key: str | None, timeout: float) -> Target:
    """The server at a URL, whose model is the first that it lists if none is named.

    Raises:
        LoadTestError: it cannot be reached, or lists no model.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise LoadTestError(f"{url!r} is not the address of a server: give one like http://127.0.0.1:8000")
    base = url.rstrip("/")
    if model is None:
        model = await _first_model(base, api_key, timeout)
    return Target(name, base, model, api_key)


async def _first_model(base: str, api_key: str | None, timeout: float) -> str:
    async with _session(api_key) as session:
        try:
            with _failures():
                async with asyncio.timeout(timeout), session.get(f"{base}/v1/models") as response:
                    body = await response.read()
                    if response.status != 200:
                        raise Unanswered(_refusal(response.status, body))
        except Unanswered as failure:
            raise LoadTestError(f"{base}/v1/models: {failure.kind}") from failure
    try:
        return str(json.loads(body)["data"][0]["id"])
    except (ValueError, LookupError, TypeError):
        raise LoadTestError(f"{base}/v1/models lists no model; name one with --model") from None


def _refusal(status: int, body: bytes) -> str:
    return f"HTTP {status}: {body[:300].decode(errors='replace')}"


def _session(api_key: str | None) -> aiohttp.ClientSession:
    headers = {"Content-Type": "application/json"}
    if api_key is not None:
        headers["Authorization"] = f"Bearer {api_key}"
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE_SECONDS),
        timeout=aiohttp.ClientTimeout(),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers=headers,
        auto_decompress=False,
    )


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    """Turns what goes wrong on the way into `Unanswered`."""
    try:
        yield
    except TimeoutError:
        raise Unanswered("timeout") from None
    except aiohttp.ClientConnectorError as error:
        raise Unanswered(f"cannot connect: {error.strerror or error}") from error
    except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as error:
        raise Unanswered("hung up") from error
    except aiohttp.ClientError as error:
        raise Unanswered(f"not HTTP: {type(error).__name__}") from error

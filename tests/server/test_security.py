"""Keys, limits, and what errors do not say."""

import contextlib
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from jaxcls import AsyncLLM
from jaxcls.errors import ConfigError
from jaxcls.server.settings import Binding, Cors, Limits, Settings
from tests.server.conftest import client_of

KEY = "a-key-of-one-client"
ROUTES = [("POST", "/classify"), ("GET", "/v1/models"), ("GET", "/version"), ("GET", "/load"), ("GET", "/openapi.json")]


@pytest.fixture(scope="module")
def guarded(online: AsyncLLM) -> Iterator[httpx.Client]:
    limits = Limits(body_bytes=4000, batch=3, text_chars=100, json_depth=4, body_seconds=0.5)
    with client_of(online, api_keys=("another", KEY), limits=limits, cors=Cors(("https://page.example",))) as client:
        yield client


def with_key(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_every_route_asks_for_a_key(guarded: httpx.Client, method: str, path: str) -> None:
    for headers in (
        {},
        with_key("wrong"),
        {"Authorization": "Bearer"},
        {"Authorization": f"Basic {KEY}"},
        {"X-Api-Key": KEY},
    ):
        answer = guarded.request(method, path, headers=headers, json={"input": "a"})
        assert answer.status_code == 401
        assert answer.json()["error"]["type"] == "AuthenticationError"
        assert answer.headers["www-authenticate"] == "Bearer"
    assert guarded.request(method, path, headers=with_key(KEY), json={"input": "a"}).status_code == 200


def test_what_probes_and_scrapers_ask_is_open(guarded: httpx.Client, online: AsyncLLM) -> None:
    assert [guarded.get(path).status_code for path in ("/health", "/ping", "/metrics")] == [200, 200, 200]
    assert guarded.get("/nowhere").status_code == 401
    with client_of(online, api_keys=(KEY,), guard_metrics=True) as client:
        assert [client.get(path).status_code for path in ("/health", "/metrics")] == [200, 401]


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (b'{"input": "' + b"a" * 101 + b'"}', 400, "100 is the limit"),
        (b'{"input": ["a", "b", "c", "d"]}', 400, "4 items"),
        (b'{"input": [[[[[[]]]]]]}', 400, "within each other"),
        (b'{"input": "' + b"a" * 4000 + b'"}', 413, "4,000 bytes"),
        (b'{"input": ', 400, "no JSON"),
        (b"[" * 3000, 400, "no JSON"),
        (b'"\xff"', 400, "no JSON"),
        (b'{"input": "\\ud800"}', 400, ""),
        (b"[]", 400, ""),
        (b"null", 400, ""),
        (b"", 400, "no JSON"),
    ],
)
def test_bodies_beyond_the_limits(guarded: httpx.Client, content: bytes, status: int, words: str) -> None:
    headers = {**with_key(KEY), "Content-Type": "application/json"}
    answer = guarded.post("/classify", content=content, headers=headers)
    assert answer.status_code == status, answer.text
    assert words in answer.json()["error"]["message"]


def test_a_body_of_unknown_length_is_measured_as_it_comes(guarded: httpx.Client) -> None:
    def chunks() -> Iterator[bytes]:
        yield b'{"input": "'
        for _ in range(10):
            yield b"a" * 1000

    headers = {**with_key(KEY), "Content-Type": "application/json"}
    with contextlib.suppress(httpx.TransportError):  # the server may hang up before all was sent
        assert guarded.post("/classify", content=chunks(), headers=headers).status_code == 413


def test_a_body_that_does_not_come_is_not_waited_for(guarded: httpx.Client) -> None:
    with socket.create_connection((guarded.base_url.host, guarded.base_url.port or 0), timeout=20) as raw:
        head = f"POST /classify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Length: 99\r\n\r\n{{"
        raw.sendall(head.encode())
        assert b" 408 " in raw.recv(1000)


def test_other_content_types_are_refused(guarded: httpx.Client) -> None:
    answer = guarded.post("/classify", content=b"input=a", headers={**with_key(KEY), "Content-Type": "text/plain"})
    assert answer.status_code == 400
    assert "application/json" in answer.json()["error"]["message"]


def test_other_origins_are_let_in_by_name_only(guarded: httpx.Client, client: httpx.Client) -> None:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    known = guarded.options("/classify", headers={"Origin": "https://page.example", **asked})
    assert known.headers["access-control-allow-origin"] == "https://page.example"
    unknown = guarded.options("/classify", headers={"Origin": "https://other.example", **asked})
    assert "access-control-allow-origin" not in unknown.headers
    closed = client.get("/version", headers={"Origin": "https://page.example"})
    assert "access-control-allow-origin" not in closed.headers


def test_ids_come_back_and_strange_ones_are_refused(client: httpx.Client) -> None:
    body: dict[str, Any] = {"input": "a", "request_id": "body"}
    answer = client.post("/classify", json=body, headers={"X-Request-Id": "head"})
    assert (answer.json()["id"], answer.headers["x-request-id"]) == ("classify-head", "head")
    assert client.post("/classify", json=body).headers["x-request-id"] == "body"
    assert re.fullmatch("[0-9a-f]{32}", client.post("/classify", json={"input": "a"}).headers["x-request-id"])
    for wrong in ("x" * 129, "a b", "é"):
        answer = client.post("/classify", json={**body, "request_id": wrong})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "request_id")


def test_errors_hold_no_paths_and_no_addresses(client: httpx.Client) -> None:
    answer = client.post("/classify", json={"input": "a", "model": "/home/somebody/model at 0x7f0012345678"})
    message = answer.json()["error"]["message"]
    assert answer.status_code == 404
    assert "/home" not in message
    assert "0x7f" not in message


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigError, match="API key is empty"):
        Settings(("tiny",), api_keys=("",))
    with pytest.raises(ConfigError, match="needs a name"):
        Settings(("",))
    with pytest.raises(ConfigError, match="json_depth must be positive"):
        Limits(json_depth=0)
    with pytest.raises(ConfigError, match="both --ssl-certfile and --ssl-keyfile"):
        Binding(certificate=None, key=Path("key.pem"))
    assert KEY not in repr(Settings(("tiny",), api_keys=(KEY,)))

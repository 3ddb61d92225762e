"""Keys, limits, and what errors do not say."""

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from jaxcls import AsyncLLM
from jaxcls.errors import ConfigError
from jaxcls.server.settings import Binding, Limits, Settings
from tests.server.conftest import client_of

KEY = "a-key-of-one-client"


@pytest.fixture(scope="module")
def guarded(online: AsyncLLM) -> Iterator[httpx.Client]:
    limits = Limits(body_bytes=4000, batch=3, text_chars=100, json_depth=4, body_seconds=0.5)
    with client_of(online, api_keys=("another", KEY), limits=limits) as client:
        yield client


def with_key(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_only_a_bearers_key_opens(guarded: httpx.Client) -> None:
    for headers in (
        {},
        with_key("wrong"),
        {"Authorization": "Bearer"},
        {"Authorization": f"Basic {KEY}"},
        {"X-Api-Key": KEY},
    ):
        answer = guarded.post("/classify", headers=headers, json={"input": "a"})
        assert answer.status_code == 401
        assert answer.json()["error"]["type"] == "AuthenticationError"
        assert answer.headers["www-authenticate"] == "Bearer"
    assert guarded.post("/classify", headers=with_key(KEY), json={"input": "a"}).status_code == 200


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


def test_a_body_that_does_not_come_is_not_waited_for(guarded: httpx.Client) -> None:
    with socket.create_connection((guarded.base_url.host, guarded.base_url.port or 0), timeout=20) as raw:
        head = f"POST /classify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Length: 99\r\n\r\n{{"
        raw.sendall(head.encode())
        assert b" 408 " in raw.recv(1000)


@pytest.mark.parametrize("wrong", ["x" * 129, "a b", "é"])
def test_strange_ids_are_refused(client: httpx.Client, wrong: str) -> None:
    answer = client.post("/classify", json={"input": "a", "request_id": wrong})
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

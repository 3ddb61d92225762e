"""Who may call, with how much, and what the server says of itself."""

import json
from typing import Any

import httpx
import pytest

from jaxcls import AsyncLLM
from jaxcls.server.settings import Cors, Limits
from tests.server.conftest import client_of

BODY = {"input": "the cat"}


def test_a_key_guards_every_route_but_health(online: AsyncLLM) -> None:
    with client_of(online, api_keys=("right", "other")) as client:
        for path in client.get("/openapi.json", headers={"Authorization": "Bearer right"}).json()["paths"]:
            for method in ("GET", "POST"):
                status = client.request(method, path).status_code
                assert (status == 401) == (path not in ("/health", "/ping", "/metrics")), path
        refused = client.post("/classify", json=BODY, headers={"Authorization": "Bearer wrong"})
        assert (refused.status_code, refused.json()["error"]["type"]) == (401, "AuthenticationError")
        for key in ("right", "other"):
            assert client.post("/classify", json=BODY, headers={"Authorization": f"Bearer {key}"}).status_code == 200
    with client_of(online, api_keys=("right",), guard_metrics=True) as client:
        assert client.get("/metrics").status_code == 401


def test_limits_are_told(online: AsyncLLM) -> None:
    limits = Limits(body_bytes=2000, batch=3, text_chars=50, json_depth=3)
    with client_of(online, limits=limits) as client:
        for body, status, words in (
            ({"input": ["a"] * 4}, 400, "4 items"),
            ({"input": ["a", "b" * 51]}, 400, "input[1] has 51 characters"),
            ({"input": "a", "more": [[[1]]]}, 400, "within each other"),
            ({"input": "a" * 2000}, 413, "2,000 bytes"),
        ):
            answer = client.post("/classify", json=body)
            assert (answer.status_code, words in answer.text) == (status, True), answer.text
        parts = (b"a" * 500 for _ in range(10))
        assert client.post("/classify", content=parts, headers={"Content-Type": "application/json"}).status_code == 413


@pytest.mark.parametrize(
    ("content", "kind", "words"),
    [
        (b'{"input": "a"', "application/json", "no JSON"),
        (b"\xff", "application/json", "no JSON"),
        (b'{"input": NaN}', "application/json", "no JSON"),
        (b"[1]", "application/json", "input"),
        (b"input=a", "application/x-www-form-urlencoded", "Unsupported Media Type"),
    ],
)
def test_bodies_that_are_none(client: httpx.Client, content: bytes, kind: str, words: str) -> None:
    answer = client.post("/classify", content=content, headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, 400)
    assert words in answer.text or content == b"[1]"


def test_request_ids(client: httpx.Client) -> None:
    answer = client.post("/classify", json={**BODY, "request_id": "mine"})
    assert (answer.json()["id"], answer.headers["x-request-id"]) == ("classify-mine", "mine")
    answer = client.post("/classify", json={**BODY, "request_id": "mine"}, headers={"X-Request-Id": "header"})
    assert (answer.json()["id"], answer.headers["x-request-id"]) == ("classify-header", "header")
    assert client.post("/classify", json={**BODY, "request_id": "a b"}).status_code == 400


def test_pages_of_others_are_refused_unless_named(online: AsyncLLM, client: httpx.Client) -> None:
    asked = {"Origin": "https://page.example", "Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in client.options("/classify", headers=asked).headers
    with client_of(online, cors=Cors(("https://page.example",)), api_keys=("key",)) as named:
        answer = named.options("/classify", headers=asked)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "https://page.example"


def test_what_the_server_says_of_itself(client: httpx.Client) -> None:
    (card,) = client.get("/v1/models").json()["data"]
    assert (card["id"], card["object"], card["max_model_len"]) == ("tiny", "model", 160)
    assert (
        client.get("/health").status_code == client.get("/ping").status_code == client.post("/ping").status_code == 200
    )
    assert set(client.get("/version").json()) == {"version"}
    assert client.get("/load").json() == {"server_load": 0}
    missing = client.get("/nothing")
    assert (missing.status_code, missing.json()["detail"]) == (404, "Not Found")
    assert client.get("/classify").status_code == 405


def metrics(client: httpx.Client) -> dict[str, float]:
    lines = [line for line in client.get("/metrics").text.splitlines() if not line.startswith("#")]
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


def test_metrics_count(client: httpx.Client) -> None:
    before = metrics(client)
    answer = client.post("/classify", json={"input": ["the cat", "a dog"]})
    after = metrics(client)

    def grown(name: str) -> float:
        return after[name] - before.get(name, 0.0)

    assert grown('jaxcls_requests_total{route="/classify",status="200"}') == 1
    assert grown("jaxcls_prompt_tokens_total") == answer.json()["usage"]["prompt_tokens"]
    assert grown("jaxcls_sequences_total") == 2
    assert grown('jaxcls_step_tokens_by_kind_total{kind="given"}') == 8
    assert grown('jaxcls_step_tokens_by_kind_total{kind="padding"}') > 0
    for stage in ("tokenize", "queue", "compute"):
        assert grown(f'jaxcls_stage_seconds_count{{stage="{stage}"}}') == 2
    assert after["jaxcls_queue_items"] == after["jaxcls_queue_sequences"] == 0
    assert after["jaxcls_engine_healthy"] == 1


def test_the_document_describes_every_route(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    text = json.dumps(document)
    for reference in {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]}:
        assert reference in document["components"]["schemas"], reference
    for path, operations in document["paths"].items():
        if "post" in operations and path != "/ping":
            assert "requestBody" in operations["post"], path
    forms = document["paths"]["/classify"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert len(forms["oneOf"]) == 3


def test_a_request_is_logged_without_its_contents(online: AsyncLLM, caplog: Any) -> None:
    with caplog.at_level("INFO", "jaxcls.server"), client_of(online, log_requests=True) as client:
        client.post("/classify", json={"input": "a secret", "user": "somebody"})
    (record,) = [record for record in caplog.records if record.name == "jaxcls.server"]
    assert (record.facts["route"], record.facts["status"], record.facts["user"]) == ("/classify", 200, "somebody")
    assert "secret" not in str(vars(record))

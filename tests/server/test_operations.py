"""What the server says of itself: models, health, metrics, logs."""

from typing import Any

import httpx

from jaxcls import AsyncLLM
from tests.server.conftest import client_of


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


def test_a_request_is_logged_without_its_contents(online: AsyncLLM, caplog: Any) -> None:
    with caplog.at_level("INFO", "jaxcls.server"), client_of(online, log_requests=True) as client:
        client.post("/classify", json={"input": "a secret", "user": "somebody"})
    (record,) = [record for record in caplog.records if record.name == "jaxcls.server"]
    assert (record.facts["route"], record.facts["status"], record.facts["user"]) == ("/classify", 200, "somebody")
    assert "secret" not in str(vars(record))

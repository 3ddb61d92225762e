"""Many callers of one engine: full queues, clients that leave, batches that fail."""

import concurrent.futures
import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import jax
import pytest

from jaxcls import AsyncLLM
from tests.server.conftest import client_of, opened

SENTENCE = "the cat sat on the mat and a dog ran under the tree"


@pytest.fixture(scope="module")
def small(bert_path: Path) -> Iterator[AsyncLLM]:
    """A model with small steps and a short queue."""
    with opened(bert_path, max_queue=600, max_num_batched_tokens=32) as llm:
        yield llm


@pytest.fixture(scope="module")
def asking(small: AsyncLLM) -> Iterator[httpx.Client]:
    with client_of(small) as client:
        yield client


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def counted(client: httpx.Client, name: str) -> float:
    found = re.search(rf"^{name} (\S+)$", client.get("/metrics").text, re.MULTILINE)
    assert found is not None, name
    return float(found[1])


def test_a_full_queue_is_told_with_when_to_try_again(asking: httpx.Client) -> None:
    refused = counted(asking, "jaxcls_rejected_total")
    answer = asking.post("/classify", json={"input": ["the cat"] * 601})
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.json()["error"]["type"] == "RateLimitError"
    assert "600" in answer.json()["error"]["message"]
    assert counted(asking, "jaxcls_rejected_total") == refused + 1
    assert asking.post("/classify", json={"input": ["the cat"] * 600}).status_code == 200


def test_a_client_that_hangs_up_is_dropped_before_the_next_step(asking: httpx.Client, small: AsyncLLM) -> None:
    import orjson

    before, left = small.stats.prompts, counted(asking, "jaxcls_disconnects_total")
    body = orjson.dumps({"input": [SENTENCE] * 600})
    with socket.create_connection((asking.base_url.host, asking.base_url.port or 0)) as raw:
        raw.sendall(
            b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            % len(body)
            + body
        )
        until(lambda: small.loop.pending > 300)
    until(lambda: small.loop.items == 0 and small.loop.pending == 0)
    assert small.stats.prompts - before < 600
    assert counted(asking, "jaxcls_disconnects_total") == left + 1
    assert asking.post("/classify", json={"input": "the cat"}).status_code == 200


def test_a_failing_batch_answers_its_own_requests_and_the_loop_lives(
    asking: httpx.Client, small: AsyncLLM, caplog: pytest.LogCaptureFixture
) -> None:
    state = small.model.runner.state
    expected = asking.post("/classify", json={"input": SENTENCE}).json()["data"]
    lost = jax.tree.map(lambda array: array + 0, state)
    jax.tree.map(lambda array: array.delete(), lost)
    small.model.runner.state = lost
    try:
        for _ in range(3):
            answer = asking.post("/classify", json={"input": ["the cat", SENTENCE]})
            assert answer.status_code == 500
            assert answer.json()["error"]["type"] == "InternalServerError"
            assert "deleted" not in answer.text
        assert "deleted" in caplog.text
        health = asking.get("/health")
        assert (health.status_code, health.json()["error"]["code"]) == (503, 503)
    finally:
        small.model.runner.state = state
    assert asking.post("/classify", json={"input": SENTENCE}).json()["data"] == expected
    assert asking.get("/health").status_code == 200


def test_each_of_many_gets_its_own_answer(asking: httpx.Client, small: AsyncLLM) -> None:
    words = ["cat", "dog", "mat", "tree", "happy sad", "very red", "blue", "fast slow cat"]
    alone = {word: asking.post("/classify", json={"input": word}).json()["data"][0]["probs"] for word in words}
    steps, prompts = small.stats.steps, small.stats.prompts

    def ask(number: int) -> None:
        chosen = [words[(number + offset) % len(words)] for offset in range(number % 3 + 1)]
        answer = asking.post("/classify", json={"input": chosen, "request_id": f"r{number}"}).json()
        assert answer["id"] == f"classify-r{number}"
        for data, word in zip(answer["data"], chosen, strict=True):
            assert data["probs"] == pytest.approx(alone[word], abs=1e-6)

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(ask, range(120)))
    assert small.stats.prompts - prompts == sum(number % 3 + 1 for number in range(120))
    assert small.stats.steps - steps < small.stats.prompts - prompts
    assert small.loop.pending == small.loop.items == 0


def test_priority_goes_first_where_the_policy_says_so(bert_path: Path) -> None:
    with opened(bert_path, scheduling_policy="priority") as llm, client_of(llm) as client:
        answer = client.post("/classify", json={"input": "the cat", "priority": -3})
        assert answer.status_code == 200, answer.text

"""`jaxcls serve` as a process: warm before it is ready, drained before it ends, its logs."""

import json
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest


@contextmanager
def served(model: Path, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "jaxcls.cli", "serve", str(model), *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def address(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    assert process.stderr is not None
    line = process.stdout.readline()
    found = re.fullmatch(r"jaxcls serves \S+ at (\S+)\n", line)
    assert found is not None, line + process.stderr.read()
    return found[1]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_not_ready_until_warm_and_drained_at_the_end(bert_path: Path, tmp_path: Path) -> None:
    keys, port, states = tmp_path / "keys", free_port(), []
    keys.write_text("one\ntwo\n")
    options = ("--port", port, "--api-key-file", keys, "--log-requests", "--served-model-name", "tiny")
    with served(bert_path, *options, "--max-num-batched-tokens", 32, "--max-batch", 4000) as process:

        def watch() -> None:
            while process.poll() is None and 200 not in states:
                try:
                    states.append(httpx.get(f"http://127.0.0.1:{port}/health").status_code)
                except httpx.TransportError:
                    continue

        watcher = threading.Thread(target=watch)
        watcher.start()
        assert address(process) == f"http://127.0.0.1:{port}"
        watcher.join()
        assert set(states) == {503, 200}
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"Authorization": "Bearer two"}) as client:
            metrics = client.get("/metrics").text
            compiles = re.search(r"^jaxcls_compiles_total (\S+)$", metrics, re.MULTILINE)
            body = {"input": ["the cat sat on the secret mat"] * 4000, "user": "somebody"}
            answers: list[httpx.Response] = []
            asking = threading.Thread(target=lambda: answers.append(client.post("/classify", json=body, timeout=60)))
            asking.start()
            while "jaxcls_queue_items 4000.0" not in httpx.get(f"http://127.0.0.1:{port}/metrics").text:
                assert not answers
            process.send_signal(signal.SIGTERM)
            asking.join()
        assert len(answers[0].json()["data"]) == 4000
        assert process.wait(30) == 0
        assert process.stderr is not None
        lines = [json.loads(line) for line in process.stderr.read().splitlines()]
        assert compiles is not None
        assert float(compiles[1]) > 1
    (request,) = [line for line in lines if line.get("route") == "/classify"]
    assert (request["event"], request["status"], request["user"]) == ("request", 200, "somebody")
    assert request["request_id"] == answers[0].json()["id"].removeprefix("classify-")
    assert "secret" not in json.dumps(lines)


def test_tls_and_unix_sockets(bert_path: Path, tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl makes the certificate, and there is none")
    made = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    files = ["-keyout", tmp_path / "key.pem", "-out", tmp_path / "certificate.pem"]
    subprocess.run([openssl, *made.split(), *files], check=True, capture_output=True)
    tls = ("--ssl-certfile", tmp_path / "certificate.pem", "--ssl-keyfile", tmp_path / "key.pem")
    body: dict[str, Any] = {"input": "the cat"}
    with served(bert_path, "--port", 0, *tls) as process:
        trusted = ssl.create_default_context(cafile=str(tmp_path / "certificate.pem"))
        url = address(process)
        assert url.startswith("https://127.0.0.1:")
        assert httpx.post(f"{url}/classify", json=body, verify=trusted).status_code == 200
    path = tmp_path / "socket"
    with served(bert_path, "--uds", path) as process:
        assert address(process) == f"unix:{path}"
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://here") as client:
            assert client.post("/classify", json=body).status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert not path.exists()


def test_what_cannot_be_served_is_told(bert_path: Path, tmp_path: Path) -> None:
    empty = tmp_path / "keys"
    empty.write_text("\n")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for model, options, words in (
            (bert_path, ("--port", taken.getsockname()[1]), "cannot listen on 127.0.0.1"),
            (tmp_path / "nothing", ("--port", 0), "nothing"),
            (bert_path, ("--api-key-file", empty), "no key in it"),
        ):
            with served(model, *options) as process:
                _, said = process.communicate(timeout=60)
                assert process.returncode == 1
                assert "error: " in said
                assert words in said

"""`jaxcls bench serve` against real servers of known behaviour: what it reports is what they did."""

import asyncio
import gc
import json
import math
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from typer.testing import CliRunner, Result

from jaxcls.cli.app import app
from jaxcls.load_test import random_texts, shuffled
from jaxcls.load_test.client import Sample, wrong_form
from jaxcls.load_test.runs import poisson_arrivals
from jaxcls.load_test.summary import run_numbers, summaries
from tests.load_test.server import TextServer, answer, answers

SHORT = ("--seconds", 0.4, "--rounds", 1, "--warmup", 0)


@pytest.fixture(autouse=True)
def heap_of_a_process_of_its_own() -> Iterator[None]:
    """The command collects garbage before each run; what other tests have left would take seconds."""
    gc.freeze()
    yield
    gc.unfreeze()


def bench(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["bench", "serve", *map(str, arguments)])


def rows_of(result: Result, kind: str) -> list[dict[str, Any]]:
    return [row for row in map(json.loads, result.stdout.splitlines()) if row["kind"] == kind]


def write_numbers(path: Path, count: int) -> Path:
    path.write_text("".join(f"{i}\n" for i in range(count)))
    return path


async def by_number(server: TextServer, request: web.Request, texts: list[str]) -> web.StreamResponse:
    """Each text is a number, and its remainder by 8 what happens; the first request is always answered."""
    first = not server.done
    kind = 0 if first else int(texts[0]) % 8
    server.done["first" if first else str(kind)] += 1
    good = answer(texts)
    match kind:
        case 1:
            return web.json_response({"error": "full"}, status=429, headers={"Retry-After": "1"})
        case 2:
            return web.json_response({"error": "broken"}, status=500)
        case 3:
            assert request.transport is not None
            request.transport.abort()
        case 4:  # hangs up in the middle of an answer
            response = web.StreamResponse(headers={"Content-Length": "1000"})
            await response.prepare(request)
            await response.write(b'{"data":')
            assert request.transport is not None
            request.transport.abort()
            return response
        case 5:
            await asyncio.sleep(60)
        case 6:
            return web.Response(body=b"<html>")
        case 7:
            good["data"][0]["probs"] = [math.nan, 1.0]
    return web.json_response(good)


def test_every_kind_of_failure_is_counted(tmp_path: Path) -> None:
    numbers = write_numbers(tmp_path / "numbers.txt", 80)
    with TextServer(by_number) as server:
        result = bench(server.url, "--rate", 200, "--input", numbers, "--timeout", 2, *SHORT)
        did = server.done
    assert result.exit_code == 3
    [row] = rows_of(result, "load")
    assert row["requests"] == len(server.texts) - 1 == sum(did.values()) - 1
    assert row["answered"] == did["0"] > 0
    assert row["errors"] == {
        "HTTP 429": did["1"],
        "HTTP 500": did["2"],
        "hung up": did["3"] + did["4"],
        "timeout": did["5"],
        "wrong answer": did["6"] + did["7"],
    }
    assert min(did[str(kind)] for kind in range(8)) > 0
    [summary] = rows_of(result, "summary")
    assert (summary["answered"], summary["errors"]) == (row["answered"], row["errors"])
    assert bench(server.url, "--rate", 1, *SHORT).exit_code == 1  # it is gone


def test_arrivals_do_not_wait_for_answers() -> None:
    """The server answers nothing before it has everything: a client that waits would never end."""
    expected = len(poisson_arrivals(100, 0.4, 0))
    everything = asyncio.Event()

    async def together(server: TextServer, request: web.Request, texts: list[str]) -> web.StreamResponse:
        server.done["requests"] += 1
        if server.done["requests"] == expected + 1:
            everything.set()
        elif server.done["requests"] > 1:  # the first request of all is answered at once
            await everything.wait()
        return await answers(server, request, texts)

    with TextServer(together) as server:
        result = bench(server.url, "--rate", 100, *SHORT)
    assert result.exit_code == 0, result.stderr
    [row] = rows_of(result, "load")
    assert row["answered"] == row["requests"] == expected
    assert row["errors"] == {}


def test_latency_counts_from_the_scheduled_arrival() -> None:
    early, late = Sample(10.0, 10.0, 10.05, None), Sample(10.1, 10.5, 10.6, None)
    refused = Sample(10.2, 10.2, 10.21, "HTTP 429")
    numbers = run_numbers([early, late, refused], start=10.0, seconds=1.0, bound_ms=60)
    assert numbers["latency_ms"] == {"p50": 50.0, "p95": 500.0, "p99": 500.0, "mean": 275.0, "max": 500.0}
    assert numbers["send_delay_ms"] == {"p99": 400.0, "max": 400.0}
    assert (numbers["within_bound"], numbers["goodput_per_s"], numbers["requests_per_s"]) == (1, 1.0, 2.0)
    # Answers that come after the end make the run longer.
    assert run_numbers([early, late], start=10.0, seconds=0.5, bound_ms=600)["requests_per_s"] == round(2 / 0.6, 3)


def test_quantiles_are_nearest_ranks() -> None:
    samples = [Sample(0.0, 0.0, (i + 1) / 1000, None) for i in range(200)]
    numbers = run_numbers(samples, start=0.0, seconds=1.0, bound_ms=100)
    assert numbers["latency_ms"] == {"p50": 100.0, "p95": 190.0, "p99": 198.0, "mean": 100.5, "max": 200.0}
    assert (numbers["within_bound"], numbers["goodput_per_s"]) == (100, 100.0)


def test_a_round_without_answers_is_not_hidden_by_the_others() -> None:
    good = run_numbers([Sample(0.0, 0.0, 0.1, None)], 0.0, 1.0, 50)
    bad = run_numbers([Sample(0.0, 0.0, 0.1, "timeout")], 0.0, 1.0, 50)
    fixed = {"kind": "load", "server": "a", "load": None, "rate": 1.0}
    [summary] = summaries([fixed | good, fixed | bad])
    assert summary["latency_ms"]["p99"] is None
    assert summary["requests_per_s"] == {"median": 0.5, "low": 0.0, "high": 1.0}
    assert (summary["rounds"], summary["errors"]) == (2, {"timeout": 1})


def test_arrivals_are_poisson() -> None:
    times = poisson_arrivals(1000, 20, seed=3)
    assert times == poisson_arrivals(1000, 20, seed=3) != poisson_arrivals(1000, 20, seed=4)
    assert times == sorted(times)
    assert 0 < times[0] < times[-1] < 20
    gaps = [b - a for a, b in zip([0.0, *times], times, strict=False)]
    mean = sum(gaps) / len(gaps)
    deviation = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / len(gaps))
    assert mean == pytest.approx(1e-3, rel=0.05)
    assert deviation == pytest.approx(mean, rel=0.05)  # as of an exponential distribution


def test_two_servers_get_the_same_in_turn(tmp_path: Path) -> None:
    output = tmp_path / "runs.jsonl"
    with TextServer() as a, TextServer() as b:
        options = ("--rate", 40, "--rate", 80, "--seconds", 0.2, "--rounds", 2, "--warmup", 0, "--words", 3)
        result = bench(f"a={a.url}", f"b={b.url}", *options, "--output", output)
    assert result.exit_code == 0, result.stderr
    runs = rows_of(result, "load")
    order = [(row["round"], row["rate"], row["server"]) for row in runs]
    first = [(0, rate, server) for rate in (40, 80) for server in "ab"]
    assert order == [*first, *((1, rate, server) for rate in (40, 80) for server in "ba")]
    assert sorted(a.texts) == sorted(b.texts)
    assert len(set(a.texts)) > 0.9 * len(a.texts)  # rounds differ
    assert sum(row["answered"] for row in runs if row["server"] == "a") == len(a.texts) - 1
    assert output.read_text() == result.stdout
    assert [(row["server"], row["rate"], row["rounds"]) for row in rows_of(result, "summary")] == [
        ("a", 40, 2),
        ("b", 40, 2),
        ("a", 80, 2),
        ("b", 80, 2),
    ]


def test_what_goes_before_a_run_is_no_part_of_it() -> None:
    # The collector has much to walk through then.
    ballast = [[number] for number in range(3_000_000)]
    with TextServer() as server:
        result = bench(server.url, "--load", 0.1, "--concurrency", 1, *SHORT)
    assert result.exit_code == 0, result.stderr
    (row,), (load,) = (rows_of(result, kind) for kind in ("saturation", "load"))
    # All that the server saw but the first request, and one that was on its way at the end.
    assert row["answered"] + load["answered"] >= len(server.texts) - 2
    assert len(ballast) == 3_000_000


def test_load_is_a_share_of_what_the_server_answers() -> None:
    async def one_in_20_ms(server: TextServer, request: web.Request, texts: list[str]) -> web.StreamResponse:
        await asyncio.sleep(0.02)
        return await answers(server, request, texts)

    with TextServer(one_in_20_ms) as slow, TextServer() as fast:
        servers = (f"fast={fast.url}", f"slow={slow.url}")
        own = bench(*servers, "--load", 0.5, "--concurrency", 1, *SHORT, "--seconds", 3)
        same = bench(*servers, "--load", 0.5, "--same-rate", "--concurrency", 1, *SHORT, "--seconds", 3)
    for result in (own, same):
        can = {row["server"]: row["requests_per_s"] for row in rows_of(result, "saturation")}
        assert 0 < can["slow"] <= 50  # one at a time, 20 ms each
        rates = {row["server"]: row["rate"] for row in rows_of(result, "load")}
        slowest: dict[str, Any] = dict.fromkeys(can, min(can.values()))
        of = can if result is own else slowest
        assert rates == pytest.approx({server: 0.5 * of[server] for server in can}, abs=2e-3)


def test_requests_of_several_texts_with_a_key() -> None:
    with TextServer() as server:
        result = bench(server.url, "--rate", 50, "--texts-per-request", 3, "--api-key", "secret", *SHORT)
        assert server.headers["Authorization"] == "Bearer secret"
    assert result.exit_code == 0, result.stderr
    [row] = rows_of(result, "load")
    assert row["answered"] * 3 == len(server.texts) - 3
    assert "secret" not in result.stdout


def test_table_names_servers_loads_and_ratios() -> None:
    with TextServer() as a, TextServer() as b:
        options = ("--load", 0.1, "--concurrency", 2, "--format", "table", *SHORT, "--seconds", 2)
        result = bench(f"ours={a.url}", f"theirs={b.url}", *options)
    assert result.exit_code == 0, result.stderr
    for words in ("ours", "theirs", "all it can", "load 10%", "p99 ms", "none", "ours against theirs, load 10%: p50 x"):
        assert words in result.stdout
    # A row is a line of an ordinary terminal.
    rows = [line.split() for line in result.stdout.splitlines() if line.strip().startswith(("ours ", "theirs "))]
    assert [row[-1] for row in rows if "against" not in row] == ["none"] * 4


def test_answers_that_are_not_of_classify() -> None:
    def form(answer: Any, texts: int = 2) -> str | None:
        return wrong_form(json.dumps(answer).encode(), texts)

    right = answer(["a", "b"])
    assert form(right) is None
    assert form(right, 1) == form(right, 3) == "wrong answer"
    for data in (right["data"][::-1], [{"index": 0, "probs": []}, {"index": 1, "probs": [1.0]}], None, [1, 2]):
        assert form({"data": data}) == "wrong answer"
    assert form([]) == "wrong answer"


def test_what_cannot_start_says_why(tmp_path: Path) -> None:
    async def refuses(server: TextServer, request: web.Request, texts: list[str]) -> web.StreamResponse:
        del server, request, texts
        return web.json_response({"error": {"message": "no such model"}}, status=404)

    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = taken.getsockname()[1]
    empty = tmp_path / "empty.txt"
    empty.touch()
    with TextServer(refuses) as server:
        cases = {
            (f"http://127.0.0.1:{free}",): (1, "cannot connect"),
            (server.url,): (1, "no such model"),
            ("127.0.0.1:80",): (1, "give one like http://127.0.0.1:8000"),
            (server.url, server.url): (1, "two servers are called"),
            (server.url, "--input", empty): (2, "holds no texts"),
            (server.url, "--rate", 1, "--same-rate"): (2, "--same-rate goes with --load"),
            (server.url, "--column", "x"): (2, "--column needs --input FILE"),
            (server.url, "--input", empty, "--words", 3): (2, "not for --input FILE"),
            (server.url, "--rate", 1, "--output", tmp_path / "no" / "rows.jsonl"): (2, "no directory"),
        }
        for arguments, (code, words) in cases.items():
            result = bench(*arguments)
            assert result.exit_code == code, result.output
            assert words in " ".join(result.stderr.replace("│", " ").split())


def test_texts() -> None:
    def first(seed: int, count: int = 2000) -> list[str]:
        texts = random_texts(seed, median_words=20, max_words=60)
        return [next(texts) for _ in range(count)]

    lengths = sorted(len(text.split()) for text in first(1))
    assert 1 <= lengths[0] < 10
    assert 18 <= lengths[1000] <= 22
    assert lengths[-1] == 60
    assert first(1, 5) == first(1, 5) != first(2, 5)
    again = shuffled("abc", 0)
    assert Counter(next(again) for _ in range(6)) == {"a": 2, "b": 2, "c": 2}

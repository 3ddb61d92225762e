"""Clients that behave badly, for as long as wanted, against a server: is all answered, once, and right?

python -m benchmarks.serve_abuse --clients 64 --seconds 60

Each client sends, by chance: a good request; one that it leaves in the middle; one that it cuts off; a malformed or a
refused body. Good requests must be answered with their own id and the scores that their texts have alone; nothing may
be answered with 500; when all have left, nothing may wait. The server's memory is read every second.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import itertools
import json
import math
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

TEXTS = [
    "SELECT name FROM visits;",
    "def mean(values): return sum(values) / len(values)",
    "fn main() { println!(); }",
    '<a href="/about">About</a>',
    "int main(void) { return 0; }",
    "body { color: red; }",
    "x <- c(1, 2, 3)",
    "echo $HOME",
]
_BROKEN = [
    b"{",
    b"[" * 1000,
    b'{"input": [1, "a"]}',
    b'{"input": []}',
    b'{"input": "a", "colour": 1}',
    b'{"input": "a", "model": "other"}',
    b"\xff\xfe",
    b'{"input": ["a", "' + b"long " * 3000 + b'"]}',
]
_TOLERANCE = 1e-5


@dataclasses.dataclass
class Report:
    """What came of it.

    Attributes:
        outcomes: how many of each kind.
        problems: what must not be.
        memory: the server's resident megabytes, one a second.
        left: items and sequences in the queue when all were gone.
    """

    outcomes: Counter[str] = dataclasses.field(default_factory=Counter)
    problems: list[str] = dataclasses.field(default_factory=list)
    memory: list[float] = dataclasses.field(default_factory=list)
    left: tuple[float, float] = (0.0, 0.0)

    @property
    def growth(self) -> float:
        """Megabytes between the medians of the second and of the last quarter."""
        quarter = max(1, len(self.memory) // 4)
        early, late = sorted(self.memory[quarter : 2 * quarter]), sorted(self.memory[-quarter:])
        return late[len(late) // 2] - early[len(early) // 2] if early and late else 0.0

    def summary(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "outcomes": dict(sorted(self.outcomes.items())),
            "problems": self.problems[:10],
            "num_problems": len(self.problems),
            "queue_at_the_end": self.left,
            "memory_mb": [round(min(self.memory)), round(max(self.memory))] if self.memory else None,
            "memory_growth_mb": round(self.growth, 1),
        }


async def abuse(
    port: int, clients: int, report: Report, *, seconds: float = math.inf, requests: float = math.inf, seed: int = 0
) -> None:
    """Runs the clients against a server on this machine, for so long, or until each has sent so many requests."""
    expected = await _alone(port)
    until = time.monotonic() + seconds
    rounds = (_client(port, random.Random(seed + i), (until, requests), expected, report) for i in range(clients))
    await asyncio.gather(*rounds)
    for _ in range(100):
        report.left = await _queue(port)
        if report.left == (0.0, 0.0):
            return
        await asyncio.sleep(0.1)
    report.problems.append(f"still waiting when all have left: {report.left}")


async def _client(
    port: int,
    chance: random.Random,
    bounds: tuple[float, float],
    expected: dict[str, list[float]],
    report: Report,
) -> None:
    kinds = {_good: 6, _hang_up: 2, _cut_off: 1, _broken: 2}
    until, requests = bounds
    for number in itertools.count():
        if number >= requests or time.monotonic() >= until:
            return
        (kind,) = chance.choices(list(kinds), list(kinds.values()))
        try:
            await kind(port, chance, expected, report)
        except (OSError, EOFError, asyncio.IncompleteReadError) as error:
            report.problems.append(f"{kind.__name__}: {type(error).__name__} {error}")


async def _good(port: int, chance: random.Random, expected: dict[str, list[float]], report: Report) -> None:
    name, texts = f"{chance.getrandbits(64):x}", chance.choices(TEXTS, k=chance.randint(1, 12))
    async with _sent(port, json.dumps({"input": texts, "request_id": name}).encode()) as (reader, _):
        status, answer = await _answer(reader)
        report.outcomes[f"good {status}"] += 1
        if status == 429:
            return
        if status != 200 or answer["id"] != f"classify-{name}" or len(answer["data"]) != len(texts):
            report.problems.append(f"{name}: {status} {str(answer)[:200]}")
            return
        for text, data in zip(texts, answer["data"], strict=True):
            if max(abs(a - b) for a, b in zip(data["probs"], expected[text], strict=True)) > _TOLERANCE:
                report.problems.append(f"{name}: other scores for {text!r}")
        if extra := await _more(reader):
            report.problems.append(f"{name}: answered twice: {extra[:80]!r}")


async def _hang_up(port: int, chance: random.Random, expected: dict[str, list[float]], report: Report) -> None:
    async with _sent(port, json.dumps({"input": chance.choices(TEXTS, k=200)}).encode()):
        await asyncio.sleep(chance.random() * 0.02)
    report.outcomes["hung up"] += 1


async def _cut_off(port: int, chance: random.Random, expected: dict[str, list[float]], report: Report) -> None:
    async with _sent(port, b'{"input": "', length=5000):
        await asyncio.sleep(chance.random() * 0.02)
    report.outcomes["cut off"] += 1


async def _broken(port: int, chance: random.Random, expected: dict[str, list[float]], report: Report) -> None:
    body = chance.choice(_BROKEN)
    async with _sent(port, body) as (reader, _):
        status, answer = await _answer(reader)
    report.outcomes[f"malformed {status}"] += 1
    if not 400 <= status < 500 or "message" not in answer["error"]:
        report.problems.append(f"{body[:40]!r}: {status} {str(answer)[:200]}")


@contextlib.asynccontextmanager
async def _sent(
    port: int, body: bytes, length: int | None = None, request: str = "POST /classify"
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection of its own with a request on it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        head = f"{request} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        writer.write(head.encode() + b"Content-Length: %d\r\n\r\n" % (len(body) if length is None else length) + body)
        await writer.drain()
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, Any]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    content = await reader.readexactly(int(re.findall(r"content-length: (\d+)", head)[0]))
    return int(head.split()[1]), json.loads(content) if "application/json" in head else content.decode()


async def _more(reader: asyncio.StreamReader) -> bytes:
    """What comes after an answer: nothing."""
    try:
        return await asyncio.wait_for(reader.read(100), 0.002)
    except TimeoutError:
        return b""


async def _alone(port: int) -> dict[str, list[float]]:
    expected = {}
    for text in TEXTS:
        async with _sent(port, json.dumps({"input": text}).encode()) as (reader, _):
            expected[text] = (await _answer(reader))[1]["data"][0]["probs"]
    return expected


async def _queue(port: int) -> tuple[float, float]:
    async with _sent(port, b"", request="GET /metrics") as (reader, _):
        _, metrics = await _answer(reader)
    items, sequences = (
        float(re.findall(rf"^jaxcls_queue_{name} (\S+)$", metrics, re.MULTILINE)[0]) for name in ("items", "sequences")
    )
    return items, sequences


async def watched(process: int, port: int, clients: int, seconds: float) -> Report:
    """`abuse`, with the memory of the server's process."""
    report = Report()

    async def watch() -> None:
        while True:
            status = Path(f"/proc/{process}/status").read_text()
            report.memory.append(int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024)
            await asyncio.sleep(1)

    watching = asyncio.create_task(watch())
    await abuse(port, clients, report, seconds=seconds)
    watching.cancel()
    return report


def main() -> int:
    """Starts a server of the embedded model, and prints the report; 1 if there are problems."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--most-growth-mb", type=float, default=20)
    options = parser.parse_args()
    command = [sys.executable, "-m", "jaxcls.cli", "serve", "demo", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline().rpartition(":")[2])
            report = asyncio.run(watched(server.pid, port, options.clients, options.seconds))
        finally:
            server.terminate()
    if server.returncode:
        report.problems.append(f"the server ended with {server.returncode}")
    if report.growth > options.most_growth_mb:
        report.problems.append(f"memory grew by {report.growth:.0f} MB")
    print(json.dumps(report.summary(), indent=2))
    return bool(report.problems)


if __name__ == "__main__":
    sys.exit(main())

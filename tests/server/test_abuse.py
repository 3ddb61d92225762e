"""The short version of benchmarks/serve_abuse.py."""

import asyncio

import httpx

from benchmarks.serve_abuse import Report, abuse
from jaxcls import AsyncLLM


def test_badly_behaved_clients_harm_nobody(client: httpx.Client, online: AsyncLLM) -> None:
    report = Report()
    asyncio.run(abuse(client.base_url.port or 0, 16, 3, report))
    assert report.problems == []
    assert report.left == (0.0, 0.0)
    assert report.outcomes["good 200"] > 20
    assert min(report.outcomes[kind] for kind in ("hung up", "cut off", "malformed 400")) > 0
    assert online.loop.healthy

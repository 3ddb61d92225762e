"""The short version of benchmarks/serve_abuse.py."""

import asyncio

import httpx

from benchmarks.serve_abuse import Report, abuse
from jaxcls import AsyncLLM


def test_badly_behaved_clients_harm_nobody(client: httpx.Client, online: AsyncLLM) -> None:
    report = Report()
    asyncio.run(abuse(client.base_url.port or 0, 16, report, requests=8))
    assert report.problems == []
    assert report.left == (0.0, 0.0)
    assert report.outcomes.total() == 16 * 8
    assert min(report.outcomes[kind] for kind in ("good 200", "hung up", "cut off", "malformed 400")) > 0
    assert online.loop.healthy

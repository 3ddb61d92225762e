"""Several servers under the same load, in rounds: all of them once, then all again, starting with another one."""

import contextlib
import statistics
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from jaxcls.load_test.client import Client, Request, Target, make_requests
from jaxcls.load_test.errors import LoadTestError
from jaxcls.load_test.runs import closed_loop, open_loop, poisson_arrivals
from jaxcls.load_test.summary import Row, run_numbers

_SEED_STRIDE = 1_000_003  # rounds of one seed and those of the next share no texts


@dataclass(frozen=True)
class Plan:
    """What is sent, and when.

    Attributes:
        texts: endless texts of a seed.
        rates: requests a second, the same for all servers.
        loads: shares of what a server can answer, which is measured first.
        same_rate: `loads` are shares of what the slowest server can answer, so that all get the same rates.
        seconds: how long a run sends.
        warmup_seconds: how long each server is loaded before anything counts.
        rounds: how often everything is done.
        concurrency: requests on their way while it is measured what a server can answer.
        texts_per_request: texts that a request holds.
        timeout: seconds after the scheduled arrival at which a request is given up.
        bound_ms: answers within it are good.
        seed: of texts and arrivals.
    """

    texts: Callable[[int], Iterator[str]]
    rates: Sequence[float] = ()
    loads: Sequence[float] = ()
    same_rate: bool = False
    seconds: float = 20.0
    warmup_seconds: float = 2.0
    rounds: int = 3
    concurrency: int = 64
    texts_per_request: int = 1
    timeout: float = 30.0
    bound_ms: float = 100.0
    seed: int = 0


async def compare(targets: Sequence[Target], plan: Plan) -> AsyncIterator[Row]:
    """Runs the plan; gives a row for every run as it ends.

    Raises:
        LoadTestError: a server does not answer a first request, or nothing in a run that tells what it can answer.
    """
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Client(target, plan.timeout)) for target in targets]
        for client in clients:
            await _check(client, plan)
        for client in clients:
            await closed_loop(client, _stream(client, plan, -1), plan.warmup_seconds, plan.concurrency)
        levels: list[_Level] = [_Level(None, dict.fromkeys(targets, rate)) for rate in plan.rates]
        if plan.loads:
            saturation: dict[Target, list[float]] = {target: [] for target in targets}
            for number, client in _interleaved(clients, plan.rounds):
                row = await _saturate(client, plan, number)
                saturation[client.target].append(row["requests_per_s"])
                yield row
            levels += _levels(saturation, plan)
        for number in range(plan.rounds):
            for level_number, level in enumerate(levels):
                for client in _rotated(clients, number):
                    yield await _load(client, plan, level, number, number * len(levels) + level_number)


@dataclass(frozen=True)
class _Level:
    load: float | None
    rates: dict[Target, float]


def _levels(saturation: dict[Target, list[float]], plan: Plan) -> Iterator[_Level]:
    can = {target: statistics.median(values) for target, values in saturation.items()}
    for target, rate in can.items():
        if rate == 0:
            raise LoadTestError(f"{target.name} answered nothing with {plan.concurrency} requests at a time")
    if plan.same_rate:
        can = dict.fromkeys(can, min(can.values()))
    for load in plan.loads:
        yield _Level(load, {target: load * rate for target, rate in can.items()})


async def _check(client: Client, plan: Plan) -> None:
    [request] = islice(_stream(client, plan, -2), 1)
    problem = await client.explain(request)
    if problem is not None:
        raise LoadTestError(f"{client.target.url}/classify does not answer a first request: {problem}")


async def _saturate(client: Client, plan: Plan, number: int) -> Row:
    start, samples = await closed_loop(client, _stream(client, plan, number), plan.seconds, plan.concurrency)
    # What was on its way at the end was asked for while the run lasted and answered after it.
    inside = [sample for sample in samples if sample.done <= start + plan.seconds or sample.error is not None]
    numbers = run_numbers(inside, start, plan.seconds, plan.bound_ms)
    return _row("saturation", client, plan, number, None, None) | {"concurrency": plan.concurrency} | numbers


async def _load(client: Client, plan: Plan, level: _Level, number: int, seed: int) -> Row:
    rate = level.rates[client.target]
    arrivals = poisson_arrivals(rate, plan.seconds, plan.seed * _SEED_STRIDE + seed)
    requests = list(islice(_stream(client, plan, plan.rounds + seed), len(arrivals)))
    start, samples = await open_loop(client, requests, arrivals)
    numbers = run_numbers(samples, start, plan.seconds, plan.bound_ms)
    return _row("load", client, plan, number, level.load, rate) | numbers


def _row(kind: str, client: Client, plan: Plan, number: int, load: float | None, rate: float | None) -> dict[str, Any]:
    target = client.target
    return {
        "kind": kind,
        "server": target.name,
        "url": target.url,
        "model": target.model,
        "round": number,
        "load": load,
        "rate": None if rate is None else round(rate, 3),
        "seconds": plan.seconds,
        "texts_per_request": plan.texts_per_request,
    }


def _stream(client: Client, plan: Plan, part: int) -> Iterator[Request]:
    """Endless requests; those of the same part are the same for every server."""
    texts = plan.texts(plan.seed * _SEED_STRIDE + part)
    while True:
        yield from make_requests(
            client.target.model, list(islice(texts, plan.texts_per_request)), plan.texts_per_request
        )


def _interleaved(clients: Sequence[Client], rounds: int) -> Iterator[tuple[int, Client]]:
    for number in range(rounds):
        for client in _rotated(clients, number):
            yield number, client


def _rotated(clients: Sequence[Client], number: int) -> list[Client]:
    first = number % len(clients)
    return [*clients[first:], *clients[:first]]

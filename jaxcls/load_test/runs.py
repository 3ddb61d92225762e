"""One run against one server: as fast as it goes, or at a rate that does not wait for it."""

import asyncio
import gc
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from jaxcls.load_test.client import Client, Request, Sample

_PAUSE_SECONDS = 0.05  # after a refusal, so that a server which refuses is not asked as fast as it can refuse


class Run(NamedTuple):
    """What became of each request, and when the first could be sent, of `time.perf_counter`."""

    start: float
    samples: list[Sample]


def poisson_arrivals(rate: float, seconds: float, seed: int) -> list[float]:
    """Times in [0, seconds) of a Poisson process of `rate` a second: the gaps are exponential."""
    rng = random.Random(seed)
    times: list[float] = []
    now = rng.expovariate(rate)
    while now < seconds:
        times.append(now)
        now += rng.expovariate(rate)
    return times


async def open_loop(client: Client, requests: Sequence[Request], arrivals: Sequence[float]) -> Run:
    """Sends each request at its time, whatever has been answered by then; in their order.

    Args:
        client: to the server.
        requests: one for each arrival.
        arrivals: ascending seconds from the start.
    """
    tasks: list[asyncio.Task[Sample]] = []
    with _no_garbage_collection():
        start = time.perf_counter()
        for request, arrival in zip(requests, arrivals, strict=True):
            scheduled = start + arrival
            # Also when it is late: what was sent before has to go out.
            await asyncio.sleep(max(0.0, scheduled - time.perf_counter()))
            tasks.append(asyncio.create_task(client.send(request, scheduled)))
        return Run(start, list(await asyncio.gather(*tasks)))


async def closed_loop(client: Client, requests: Iterator[Request], seconds: float, concurrency: int) -> Run:
    """Keeps `concurrency` requests on their way for so long: what a server answers then is all that it can."""
    samples: list[Sample] = []

    async def worker(until: float) -> None:
        while (now := time.perf_counter()) < until:
            samples.append(await client.send(next(requests), now))
            if samples[-1].error is not None:
                await asyncio.sleep(_PAUSE_SECONDS)

    with _no_garbage_collection():
        start = time.perf_counter()
        await asyncio.gather(*(worker(start + seconds) for _ in range(concurrency)))
    return Run(start, samples)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """The collector stops a process for milliseconds, which would count as the server's."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()

"""Prometheus metrics: of requests as they are answered, of the engine when they are read."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from jaxcls.outputs import RequestOutput

if TYPE_CHECKING:
    from jaxcls.async_llm import AsyncLLM

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class Metrics:
    """Of one app.

    Attributes:
        registry: what /metrics shows.
        running: requests that are being answered.
    """

    def __init__(self, llm: "AsyncLLM"):
        self.registry = CollectorRegistry()
        self.running = 0
        made: dict[str, Any] = {"namespace": "jaxcls", "registry": self.registry}
        self._requests = Counter("requests", "Requests answered.", ("route", "status"), **made)
        self._seconds = Histogram("request_seconds", "Whole requests.", ("route",), buckets=_SECONDS, **made)
        stages = Histogram("stage_seconds", "Items, by what they wait for.", ("stage",), buckets=_SECONDS, **made)
        self._stages = [stages.labels(name) for name in ("tokenize", "queue", "compute")]
        self._prompt_tokens = Counter("prompt_tokens", "Tokens of items that were answered.", **made)
        self._cached_tokens = Counter("cached_tokens", "Those whose computation was reused.", **made)
        self.disconnects = Counter("disconnects", "Requests whose client left before the answer.", **made)
        self.rejected = Counter("rejected", "Requests refused because the queue was full.", **made)
        self.registry.register(_Engine(llm))

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Counts a request."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def items(self, outputs: Sequence[RequestOutput[Any]]) -> None:
        """Counts results."""
        for output in outputs:
            self._prompt_tokens.inc(len(output.prompt_token_ids))
            self._cached_tokens.inc(output.num_cached_tokens)
            if (timings := output.timings) is not None:
                for stage, value in zip(self._stages, (timings.tokenize, timings.queue, timings.compute), strict=True):
                    stage.observe(value)


class _Engine(Collector):
    """What the engine counts anyway."""

    def __init__(self, llm: "AsyncLLM"):
        self._llm = llm

    def collect(self) -> Iterator[Metric]:
        """The metrics, now."""
        stats, loop = self._llm.stats, self._llm.loop
        yield GaugeMetricFamily("jaxcls_queue_items", "Items admitted and not answered.", loop.items)
        yield GaugeMetricFamily("jaxcls_queue_sequences", "Sequences that wait for a step or run.", loop.pending)
        yield GaugeMetricFamily("jaxcls_engine_healthy", "1 while the engine answers.", float(loop.healthy))
        yield CounterMetricFamily("jaxcls_sequences", "Sequences computed.", stats.prompts)
        tokens = CounterMetricFamily("jaxcls_step_tokens_by_kind", "Tokens of steps.", labels=("kind",))
        tokens.add_metric(("given",), stats.tokens_given)
        tokens.add_metric(("padding",), stats.tokens_padded)
        yield tokens
        yield CounterMetricFamily("jaxcls_compiles", "Programs compiled, or read from the cache.", stats.compiles)
        buckets, total = [], 0
        for bits in range(max(stats.step_sizes, default=0) + 1):
            total += stats.step_sizes[bits]
            buckets.append((str(float(2**bits - 1)), total))
        yield HistogramMetricFamily(
            "jaxcls_step_tokens",
            "Tokens of a step, without padding.",
            buckets=[*buckets, ("+Inf", stats.steps)],
            sum_value=stats.tokens_given,
        )

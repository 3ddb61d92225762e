"""Numbers of a run, and of several rounds of it."""

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from jaxcls.load_test.client import Sample

Row = dict[str, Any]
_QUANTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}


def run_numbers(samples: Sequence[Sample], start: float, seconds: float, bound_ms: float) -> Row:
    """What one run gave.

    Args:
        samples: of all its requests.
        start: when the run began.
        seconds: for how long requests were sent. Rates count until the last answer if that came later.
        bound_ms: an answer is good if it came within so many milliseconds of the scheduled arrival.
    """
    answered = [sample for sample in samples if sample.error is None]
    elapsed = max([seconds, *(sample.done - start for sample in answered)])
    latencies = sorted(1e3 * sample.latency for sample in answered)
    delays = sorted(1e3 * (sample.sent - sample.scheduled) for sample in samples)
    good = sum(latency <= bound_ms for latency in latencies)
    return {
        "requests": len(samples),
        "answered": len(answered),
        "errors": dict(Counter(sample.error for sample in samples if sample.error is not None).most_common()),
        "requests_per_s": round(len(answered) / elapsed, 3),
        "latency_ms": _latencies(latencies),
        "bound_ms": bound_ms,
        "within_bound": good,
        "goodput_per_s": round(good / elapsed, 3),
        "send_delay_ms": {"p99": _at(delays, 0.99), "max": _at(delays, 1.0)},
    }


def _latencies(values: Sequence[float]) -> Row:
    mean = round(statistics.fmean(values), 3) if values else None
    return {name: _at(values, q) for name, q in _QUANTILES.items()} | {"mean": mean, "max": _at(values, 1.0)}


def _at(values: Sequence[float], quantile: float) -> float | None:
    """The smallest value that a share of `quantile` does not exceed (nearest rank); None: there are no values."""
    return round(values[max(0, math.ceil(quantile * len(values)) - 1)], 3) if values else None


def summaries(rows: Iterable[Row]) -> list[Row]:
    """The median of the rounds, and their range, of each server at each load; in the order of the first rounds."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["kind"], row["load"], row["rate"], row["server"]), []).append(row)
    return [_summary(group) for group in groups.values()]


def _summary(group: Sequence[Row]) -> Row:
    errors: Counter[str] = Counter()
    for row in group:
        errors.update(row["errors"])
    return {
        "kind": "summary",
        "of": group[0]["kind"],
        "server": group[0]["server"],
        "load": group[0]["load"],
        "rate": group[0]["rate"],
        "rounds": len(group),
        "requests": sum(row["requests"] for row in group),
        "answered": sum(row["answered"] for row in group),
        "errors": dict(errors.most_common()),
        "requests_per_s": _spread(row["requests_per_s"] for row in group),
        "latency_ms": {name: _spread(row["latency_ms"][name] for row in group) for name in _QUANTILES},
        "bound_ms": group[0]["bound_ms"],
        "goodput_per_s": _spread(row["goodput_per_s"] for row in group),
        "send_delay_ms": _spread(row["send_delay_ms"]["p99"] for row in group),
    }


def _spread(values: Iterable[float | None]) -> Row | None:
    """None if nothing was answered in some round: a median of the others would hide it."""
    every = list(values)
    known = [value for value in every if value is not None]
    if len(known) < len(every):
        return None
    return {"median": round(statistics.median(known), 3), "low": min(known), "high": max(known)}

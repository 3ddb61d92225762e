"""Rows of results -> matrices of medians with their ranges: what tables and plots show."""

import dataclasses
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal

from benchmarks.peers.table import PEERS
from benchmarks.plan import LIMITS
from benchmarks.results import Row, measurements
from benchmarks.workloads import WORKLOADS

OURS = "jaxcls"
EMPTY_CACHE = ", empty cache"
# A peer whose scores are further from the reference than this computes something else; it is shown, and never the best.
TOLERANCE = {"fp32": 1e-3, "bf16": 0.1, "int8": 0.5}
# What a share is of: int8 weights are multiplied in bf16.
CEILING = {"fp32": "fp32", "bf16": "bf16", "int8": "bf16"}

Column = tuple[str, str]  # model and workload; the workload is "" where there is none


@dataclasses.dataclass(frozen=True)
class Cell:
    """Median of the rounds, the least and the greatest of them, and whether the scores were wrong."""

    median: float
    low: float
    high: float
    wrong: bool = False


@dataclasses.dataclass(frozen=True)
class Matrix:
    """One number for every peer and column.

    Attributes:
        unit: of the numbers.
        higher_is_better: which end is the good one.
        columns: model and workload, in the order in which they are shown.
        peers: those that have a number, jaxcls first.
        cells: peer and column -> numbers; absent where there are none.
    """

    unit: str
    higher_is_better: bool
    columns: list[Column]
    peers: list[str]
    cells: dict[tuple[str, Column], Cell]

    def best_peer(self, column: Column) -> str | None:
        """The best of the others whose scores are right."""
        found = [(self.cells[p, column].median, p) for p in self.peers if p in PEERS and self._right(p, column)]
        found = [(median, peer) for median, peer in found if not peer.startswith(OURS)]
        if not found:
            return None
        return (max(found) if self.higher_is_better else min(found))[1]

    def ratio(self, column: Column) -> float | None:
        """How much better jaxcls is than the best of the others, ahead above 1; None where one of them is missing."""
        best = self.best_peer(column)
        if best is None or not self._right(OURS, column):
            return None
        ours, theirs = self.cells[OURS, column].median, self.cells[best, column].median
        return ours / theirs if self.higher_is_better else theirs / ours

    def mean_ratio(self) -> float | None:
        """Geometric mean of the ratios that there are."""
        ratios = [ratio for column in self.columns if (ratio := self.ratio(column)) is not None]
        return statistics.geometric_mean(ratios) if ratios else None

    def _right(self, peer: str, column: Column) -> bool:
        return (peer, column) in self.cells and not self.cells[peer, column].wrong


Metric = Literal["throughput", "cold", "latency", "memory"]
METRICS: dict[Metric, tuple[str, bool]] = {
    "throughput": ("sequences/s", True),
    "cold": ("seconds", False),
    "latency": ("ms", False),
    "memory": ("MB", False),
}


def matrix(rows: Iterable[Row], metric: Metric, dtype: str) -> Matrix:
    """The numbers of one metric for one class of dtypes.

    throughput: sequences a second; cold: seconds from the start of a process to its first answer; latency: p50 in ms;
    memory: the most that a process of mode throughput held.
    """
    values: dict[tuple[str, Column], dict[int, float]] = defaultdict(dict)
    wrong = set()
    for row in measurements(rows, "ok"):
        found = _value(row, metric) if row["dtype"] == dtype else None
        if found is not None:
            peer, column, value = found
            rounds = values[peer, column]
            # A process measures several workloads: its memory is the most of them.
            rounds[row["round"]] = max(value, rounds.get(row["round"], value))
            if is_wrong(row):
                wrong.add((peer, column))
    cells = {at: _cell(list(rounds.values()), wrong=at in wrong) for at, rounds in values.items()}
    columns = sorted({column for _, column in cells}, key=_column_order)
    return Matrix(*METRICS[metric], columns, sorted({peer for peer, _ in cells}, key=_peer_order), cells)


def _cell(values: Sequence[float], *, wrong: bool) -> Cell:
    return Cell(statistics.median(values), min(values), max(values), wrong)


def is_wrong(row: Row) -> bool:
    """Whether a row's scores are not those of the model, for its dtype."""
    if "error_max" not in row:
        return False
    return row["error_max"] is None or row["error_max"] > TOLERANCE[row["dtype"]]


def _value(row: Row, metric: Metric) -> tuple[str, Column, float] | None:
    mode, model, peer = row["mode"], row["model"], row["peer"]
    if mode == "throughput":
        if metric == "throughput":
            return peer, (model, row["workload"]), row["sequences_s"]
        if metric == "memory":
            return peer, (model, ""), row["rss_mb"]
    if metric == "cold" and mode in ("cold", "cold-empty"):
        return peer + (EMPTY_CACHE if mode == "cold-empty" else ""), (model, ""), row["cold_s"]
    if metric == "latency" and mode == "latency":
        return peer, (model, ""), row["p50_ms"]
    return None


def share_of(
    kind: Literal["ceiling", "peak"], rows: Sequence[Row], column: Column, dtype: str, peer: str = OURS
) -> float | None:
    """Operations a second on real tokens over a rate of the machine, medians of the rounds.

    The rate is that of XLA's matrix multiplication ("ceiling"), or of multiply-adds on registers alone ("peak"). None
    where one of the two was not measured.
    """
    model, workload = column
    rates = [
        row["flops"] / row["items"] * row["sequences_s"] / 1e9
        for row in measurements(rows, "ok")
        if (row["mode"], row["model"], row["workload"]) == ("throughput", model, workload)
        and (row["dtype"], row["peer"]) == (dtype, peer)
    ]
    ceilings = [
        row["gflops"] for row in rows if row["kind"] == kind and (row["model"], row["dtype"]) == (model, CEILING[dtype])
    ]
    return statistics.median(rates) / statistics.median(ceilings) if rates and ceilings else None


def _column_order(column: Column) -> tuple[int, int]:
    model, workload = column
    return list(LIMITS).index(model), WORKLOADS.index(workload) if workload else -1


def _peer_order(peer: str) -> tuple[int, bool]:
    name = peer.removesuffix(EMPTY_CACHE)
    return list(PEERS).index(name), peer != name

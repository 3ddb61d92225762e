"""Matrices -> markdown."""

import statistics
from collections.abc import Iterable, Sequence

from benchmarks.plan import LIMITS
from benchmarks.results import Row, measurements
from benchmarks.summary import OURS, Cell, Matrix, is_wrong, share_of

NONE = "-"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def number(value: float) -> str:
    """Three digits that mean something."""
    if value >= 100:
        return f"{value:,.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def cell(found: Cell | None) -> str:
    """Median and range; struck out where the scores were wrong."""
    if found is None:
        return NONE
    text = number(found.median)
    if found.high > found.low:
        text += f" ({number(found.low)} to {number(found.high)})"
    return f"~~{text}~~ wrong" if found.wrong else text


def against_best(matrix: Matrix, rows: Sequence[Row], dtype: str, *, ceiling: bool) -> str:
    """Jaxcls against the best of the others, column by column, and the geometric mean of the ratios."""
    header = ["model", "workload", f"{OURS}, {matrix.unit}", "best peer", matrix.unit, "ratio"]
    lines, peak = [], any(row["kind"] == "peak" for row in rows)
    for column in matrix.columns:
        best, ratio = matrix.best_peer(column), matrix.ratio(column)
        line = [column[0], column[1] or NONE, cell(matrix.cells.get((OURS, column))), best or NONE]
        line += [cell(matrix.cells[best, column]) if best else NONE, f"{ratio:.2f}" if ratio else NONE]
        if ceiling:
            line.append(_percent(share_of("ceiling", rows, column, dtype)))
            if peak:
                line += [_percent(share_of("peak", rows, column, dtype, p)) if p else NONE for p in (OURS, best)]
        lines.append(line)
    if ceiling:
        header += ["share of the ceiling", *(["of the peak", "best peer's of the peak"] if peak else [])]
    if all(workload == "" for _, workload in matrix.columns):
        header, lines = _without(header, 1), [_without(line, 1) for line in lines]
    mean = matrix.mean_ratio()
    return table(header, lines) + (f"\n\nGeometric mean of the ratios: **{mean:.2f}**." if mean else "")


def _percent(share: float | None) -> str:
    return f"{share:.0%}" if share else NONE


def everybody(matrix: Matrix) -> str:
    """All peers, a line each, and all columns."""
    header = ["", *(" ".join(filter(None, column)) for column in matrix.columns)]
    lines = [[peer, *(cell(matrix.cells.get((peer, column))) for column in matrix.columns)] for peer in matrix.peers]
    return table(header, lines)


def agreement(rows: Sequence[Row], dtype: str) -> str:
    """How far each peer's scores are from the reference's, and how many of its decisions are the same."""
    chosen = [row for row in measurements(rows, "ok") if (row["mode"], row["dtype"]) == ("throughput", dtype)]
    lines = []
    for peer in dict.fromkeys(row["peer"] for row in chosen):
        for model in dict.fromkeys(row["model"] for row in chosen if row["peer"] == peer):
            mine = [row for row in chosen if (row["peer"], row["model"]) == (peer, model)]
            lines.append([model, peer, _largest(mine), _agreement(mine)])
    lines.sort(key=lambda line: list(LIMITS).index(line[0]))
    return table(["model", "peer", "largest difference", "same decisions"], lines)


def _largest(rows: Sequence[Row]) -> str:
    errors = [row["error_max"] for row in rows]
    text = "not finite" if None in errors else f"{max(errors):.1g}"
    return f"**{text}**, wrong" if any(map(is_wrong, rows)) else text


def _agreement(rows: Sequence[Row]) -> str:
    counted = {row["workload"]: row for row in rows if row["decisions"]}.values()
    total = sum(row["decisions"] for row in counted)
    same = sum(row["agreement"] * row["decisions"] for row in counted)
    return f"{same / total:.2%} of {total:,}" if total else NONE


def refusals(rows: Sequence[Row]) -> str:
    """What was not measured, and why."""
    reasons: dict[tuple[str, str, str], list[str]] = {}
    for row in measurements(rows):
        if row["status"] != "ok":
            failed = "failed: " if row["status"] == "failed" else ""
            what = f"{failed}{row['mode']} {row['dtype']}"
            places = reasons.setdefault((row["peer"], what, row["reason"]), [])
            place = f"{row['model']} {row['workload']}"
            if place not in places:
                places.append(place)
    lines = [[peer, what, _shortened(places), reason] for (peer, what, reason), places in sorted(reasons.items())]
    return table(["peer", "what", "where", "why"], lines) if lines else "Nothing was refused and nothing failed."


def _shortened(places: Sequence[str]) -> str:
    return ", ".join(places) if len(places) <= 3 else f"{', '.join(places[:3])} and {len(places) - 3} more"


def _without(cells: Sequence[str], index: int) -> list[str]:
    return [*cells[:index], *cells[index + 1 :]]


def machine(rows: Sequence[Row]) -> str:
    """The machines that the rows come from, and how fast they multiply."""
    fields = ("cpu", "cores", "threads", "flags", "ram_gb", "os", "python")
    machines = dict.fromkeys(tuple(str(row[field]) for field in fields) for row in rows if row["kind"] == "machine")
    commits = dict.fromkeys(row["commit"] for row in measurements(rows, "ok") if row["peer"] == OURS)
    parts = [table([field.replace("_", " ") for field in fields], machines)]
    if commits:
        parts.append(f"\njaxcls at {', '.join(commits)} (+: with changes that were not committed).")
    ceilings = [row for row in rows if row["kind"] == "ceiling"]
    if ceilings:
        parts.append("\nMatrix multiplication by XLA, 1e9 operations a second, medians (range of the medians):\n")
    for dtype in dict.fromkeys(row["dtype"] for row in ceilings):
        shapes: dict[str, list[float]] = {}
        for row in ceilings:
            if row["dtype"] == dtype:
                for shape, rates in row["shapes"].items():
                    shapes.setdefault(shape, []).append(rates["median"])
        said = ", ".join(f"{shape} {_range(found)}" for shape, found in shapes.items())
        parts.append(f"* {dtype}: {said}")
    peaks = {row["dtype"]: [] for row in rows if row["kind"] == "peak"}
    for row in rows:
        if row["kind"] == "peak":
            peaks[row["dtype"]].append(row["gflops"])
    if peaks:
        said = ", ".join(f"{dtype} {_range(found)}" for dtype, found in peaks.items())
        parts.append(f"\nMultiply-adds on registers alone, which no product can pass: {said}.")
    return "\n".join(parts)


def _range(values: Sequence[float]) -> str:
    middle = f"{statistics.median(values):.0f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.0f} to {max(values):.0f})"

"""What `jaxcls bench serve` does once its options are known: the runs, their rows, the table."""

import asyncio
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jaxcls.cli.terminal import message, print_table
from jaxcls.errors import JaxclsError
from jaxcls.rows import RowsError

try:
    from jaxcls.load_test import LoadTestError, Plan, Target, compare, find_target, summaries
except ModuleNotFoundError as missing:
    if missing.name != "aiohttp":
        raise
    raise JaxclsError('bench serve needs aiohttp: pip install "jaxcls[bench]"') from missing

Row = dict[str, Any]
_LATE_MS = 10.0


def run_and_report(
    servers: Sequence[str], model: str | None, api_key: str | None, plan: Plan, output: Path | None, *, table: bool
) -> int:
    """Runs the plan against `[NAME=]URL`s; returns how many requests failed.

    Raises:
        LoadTestError: a server cannot be tested; two have one name.
        RowsError: the output cannot be written.
    """
    if output is not None and not output.parent.is_dir():
        raise RowsError(f"cannot write {output}: there is no directory {output.parent}")
    rows = asyncio.run(_run(_named(servers), model, api_key, plan, output, table=table))
    totals = summaries(rows)
    for row in totals:
        _record(row, output, printed=not table)
    if table:
        _print(totals)
    _warn(totals)
    return sum(sum(row["errors"].values()) for row in totals)


def _named(servers: Sequence[str]) -> dict[str, str]:
    """Name -> address; a server without a name is called by its address."""
    named: dict[str, str] = {}
    for server in servers:
        name, separator, url = server.partition("=")
        if not separator or "://" in name:
            name, url = server, server
        if name in named:
            raise LoadTestError(f"two servers are called {name!r}: give them names, as in a={url}")
        named[name] = url
    return named


async def _run(
    servers: dict[str, str], model: str | None, api_key: str | None, plan: Plan, output: Path | None, *, table: bool
) -> list[Row]:
    targets: list[Target] = []
    for name, url in servers.items():
        targets.append(await find_target(name, url, model, api_key, plan.timeout))
    rows: list[Row] = []
    async for row in compare(targets, plan):
        rows.append(row)
        _record(row, output, printed=not table)
        if table and sys.stderr.isatty():
            message(_progress(row, plan), "dim")
    return rows


def _record(row: Row, output: Path | None, *, printed: bool) -> None:
    line = json.dumps(row, ensure_ascii=False)
    if output is not None:
        with output.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
    if printed:
        print(line, flush=True)


def _progress(row: Row, plan: Plan) -> str:
    what = "all it can" if row["rate"] is None else f"{row['rate']:.1f} requests/s"
    failed = sum(row["errors"].values())
    trouble = f", {failed} failed" if failed else ""
    return f"round {row['round'] + 1} of {plan.rounds}, {row['server']}, {what}: {row['requests_per_s']:.1f}/s{trouble}"


def _print(totals: Sequence[Row]) -> None:
    bound = f"{totals[0]['bound_ms']:g} ms"
    columns = ("server", "load", "requests/s", "p50 ms", "p95 ms", "p99 ms", f"within {bound}, /s", "errors")
    print_table(columns, [_cells(row) for row in totals])
    for line in _ratios(totals):
        print(line)


def _cells(row: Row) -> list[str]:
    load = _load(row)
    if row["load"] is not None:
        load += f", {row['rate']:.1f}/s"
    errors = ", ".join(f"{kind}: {count}" for kind, count in row["errors"].items())
    latencies = (_spread(row["latency_ms"][name]) for name in ("p50", "p95", "p99"))
    # Latencies and goodput of a run that keeps as many requests waiting as it is told to say nothing of the server.
    measured = row["of"] == "load"
    return [
        row["server"],
        load,
        _spread(row["requests_per_s"]),
        *(cell if measured else "" for cell in latencies),
        _spread(row["goodput_per_s"]) if measured else "",
        errors or "none",
    ]


def _load(row: Row) -> str:
    if row["of"] == "saturation":
        return "all it can"
    return f"{row['rate']:.1f}/s" if row["load"] is None else f"load {row['load']:.0%}"


def _spread(values: Row | None) -> str:
    if values is None:
        return "-"
    low, high = _number(values["low"]), _number(values["high"])
    return _number(values["median"]) + (f" ({low} to {high})" if low != high else "")


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _ratios(totals: Sequence[Row]) -> Iterator[str]:
    """The first server against each of the others, at the same load."""
    groups: dict[Any, list[Row]] = {}
    for row in totals:
        groups.setdefault((row["of"], row["load"] or row["rate"]), []).append(row)
    for first, *others in groups.values():
        for other in others:
            if first["of"] == "saturation":
                ratios = {"requests/s": (first["requests_per_s"], other["requests_per_s"])}
            else:
                names = ("p50", "p95", "p99")
                ratios = {name: (first["latency_ms"][name], other["latency_ms"][name]) for name in names}
            shown = ", ".join(f"{name} x {_ratio(*pair)}" for name, pair in ratios.items())
            yield f"{first['server']} against {other['server']}, {_load(first)}: {shown}"


def _ratio(mine: Row | None, theirs: Row | None) -> str:
    return "-" if mine is None or theirs is None else f"{mine['median'] / theirs['median']:.2f}"


def _warn(totals: Sequence[Row]) -> None:
    """A client that cannot keep up measures itself."""
    for row in totals:
        delay = row["send_delay_ms"]
        if row["of"] == "load" and delay is not None and delay["high"] > _LATE_MS:
            message(
                f"requests to {row['server']} were sent up to {delay['high']:.0f} ms late (p99 of a round): "
                "this client could not keep up, and its latencies are in part its own",
                "yellow",
            )

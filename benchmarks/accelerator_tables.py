"""What was compiled for accelerators -> the tables of docs/accelerators.md.

    python -m benchmarks.compile_kernels --all --output benchmarks/results/compile-kernels.jsonl
    python -m benchmarks.compile_accelerators --output benchmarks/results/compile-models.jsonl
    python -m benchmarks.accelerator_tables [--check]

Replaces all between `<!-- aot NAME -->` and `<!-- /aot -->`; with --check it changes nothing, and fails where the
document says something else than the results.
"""

import argparse
import json
import re
from typing import Any

from benchmarks.machine import ROOT
from benchmarks.tables import table

DOCUMENT = ROOT / "docs" / "accelerators.md"
RESULTS = ROOT / "benchmarks" / "results"
MARKED = re.compile(r"(<!-- aot (\w+) -->\n).*?(<!-- /aot -->)", re.DOTALL)


def read(name: str) -> list[dict[str, Any]]:
    """The rows of a file of results."""
    return [json.loads(line) for line in (RESULTS / f"compile-{name}.jsonl").read_text().splitlines()]


def kernels() -> str:
    """One line a spec; what it takes on each target."""
    return _by_target(read("kernels"), ("op", "spec"), lambda row: _number(row["estimated_us"]))


def models() -> str:
    """One line a program."""
    rows = [
        (
            row["model"],
            row["bucket"],
            row["target"],
            "yes" if row["fits"] else "no",
            f"{row['memory_bytes'] / 2**30:.2f}",
            f"{row['gflops']:,.0f}",
            f"{row['milliseconds']:,.2f}",
            f"{row['tokens_per_second']:,}",
            f"{row['mfu']:.0%}",
            row["estimate_by"],
        )
        for row in sorted(read("models"), key=lambda row: (row["model"], row["bucket"]))
    ]
    header = ("model", "shape", "target", "fits", "memory, GiB", "GFLOP", "ms", "tokens/s", "MFU", "estimate by")
    return table(header, rows)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}" if value < 10 else f"{value:,.0f}"


def _by_target(rows: list[dict[str, Any]], key: tuple[str, ...], cell: Any) -> str:
    targets = list(dict.fromkeys(row["target"] for row in rows))
    lines: dict[tuple[str, ...], dict[str, str]] = {}
    for row in rows:
        lines.setdefault(tuple(row[name] for name in key), {})[row["target"]] = cell(row)
    return table((*key, *targets), [(*names, *(cells.get(t, "-") for t in targets)) for names, cells in lines.items()])


TABLES = {"kernels": kernels, "models": models}


def filled(text: str) -> str:
    """The document with its tables made again."""
    return MARKED.sub(lambda found: f"{found[1]}{TABLES[found[2]]()}\n{found[3]}", text)


def main() -> None:
    """Writes or checks the document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; fail if the tables are old")
    arguments = parser.parse_args()
    text = DOCUMENT.read_text()
    if not arguments.check:
        DOCUMENT.write_text(filled(text))
    elif filled(text) != text:
        raise SystemExit(f"{DOCUMENT.name} is older than its results: python -m benchmarks.accelerator_tables")


if __name__ == "__main__":
    main()

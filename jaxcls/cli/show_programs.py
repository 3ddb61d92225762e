"""What `jaxcls compile` prints: a table for people, JSON lines for programs."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from jaxcls.aot.model import Program
from jaxcls.cli.show import size_of
from jaxcls.cli.terminal import message, print_table


def told(programs: Iterable[Program], *, as_json: bool) -> Iterable[Program]:
    """Passes programs on as they are made, and says so."""
    for program in programs:
        if as_json:
            print(json.dumps(asdict(program)), flush=True)
        else:
            message(f"{program.task}, {program.bucket}: compiled in {program.compile_seconds} s")
        yield program


def show(rows: list[Program], output: Path | None) -> None:
    """The table."""
    names = ("shape", "fits", "memory", "GFLOP", "ms", "tokens/s", "MFU", "by")
    print_table(names, [_cells(row) for row in rows])
    message(f"weights: {size_of(rows[0].weight_bytes)} of the memory; by: who estimates the time, see --help")
    for row in rows:
        if row.problem is not None:
            message(f"{row.task}, {row.bucket} does not fit: {row.problem}")
    if output is not None:
        message(f"programs are in {output}: LLM({rows[0].model!r}, programs_dir={str(output)!r})")


def _cells(row: Program) -> tuple[str, ...]:
    def number(value: float | None, form: str = ",.1f") -> str:
        return "-" if value is None else format(value, form)

    return (
        f"{row.task} {row.bucket}",
        "yes" if row.fits else "no",
        "-" if row.memory_bytes is None else size_of(row.memory_bytes),
        number(row.gflops),
        number(row.milliseconds, ",.2f"),
        number(row.tokens_per_second, ",.0f"),
        number(row.mfu, ".1%"),
        row.estimate_by or "-",
    )

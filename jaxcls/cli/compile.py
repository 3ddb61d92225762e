"""`jaxcls compile`: every program of a model, made for a device that need not be here."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jaxcls.cli.exits import EXIT_ERROR, reported
from jaxcls.cli.options import Format, Loading, ModelArgument, Traceback, WordLabels, result_option
from jaxcls.cli.show import size_of
from jaxcls.cli.terminal import message, print_table, stdout_is_terminal

if TYPE_CHECKING:
    from jaxcls.aot.model import Program


def compile(
    model: ModelArgument,
    target: Annotated[str, typer.Option("--target", help="v5e, v6e, tpu7x, h100 or cpu.")],
    loading: Loading,
    labels: WordLabels = None,
    topology: Annotated[
        str | None, typer.Option("--topology", help="The slice the device is one of: 2x2, for tpu7x 2x2x1.")
    ] = None,
    bucket: Annotated[
        list[str] | None, typer.Option("--bucket", help="Only this shape, as 16x512; may be repeated.")
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option("--task", help="classify, embed, token_classify, token_embed; not given: the model's first."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Directory for the programs; LLM(programs_dir=) takes it.")
    ] = None,
    format: Annotated[Format, result_option("--format", help="auto: a table on a terminal, else JSON lines.")] = (
        Format.AUTO
    ),
    traceback: Traceback = False,
) -> None:
    """Compile every step of a model for a device that need not be here, with its real compiler.

    Says for each shape what memory it needs, what it computes, and how long that takes: by the compiler's estimate of
    every operation and the kernels' own, or by the roofline, the device's peaks of arithmetic and memory, where that is
    longer. Weights are not read. A program runs on one device. Exits with 1 if a program does not fit.
    """
    with reported(traceback):
        from jaxcls.aot.model import compile_model

        found = compile_model(
            model,
            target,
            topology=topology,
            output=output,
            buckets=tuple(bucket or ()),
            tasks=tuple(task or ()),
            **loading.arguments(labels=labels),
        )
        table = stdout_is_terminal() if format is Format.AUTO else format is Format.TABLE
        rows = list(_told(found, as_json=not table))
        if table:
            _show(rows, output)
    if not all(row.fits for row in rows):
        raise typer.Exit(EXIT_ERROR)


def _told(programs: Iterable["Program"], *, as_json: bool) -> Iterable["Program"]:
    for program in programs:
        if as_json:
            print(json.dumps(asdict(program)), flush=True)
        else:
            message(f"{program.task}, {program.bucket}: compiled in {program.compile_seconds} s")
        yield program


def _show(rows: list["Program"], output: Path | None) -> None:
    names = ("shape", "fits", "memory", "GFLOP", "ms", "tokens/s", "MFU", "by")
    print_table(names, [_cells(row) for row in rows])
    message(f"weights: {size_of(rows[0].weight_bytes)} of the memory; by: who estimates the time, see --help")
    for row in rows:
        if row.problem is not None:
            message(f"{row.task}, {row.bucket} does not fit: {row.problem}")
    if output is not None:
        message(f"programs are in {output}: LLM({rows[0].model!r}, programs_dir={str(output)!r})")


def _cells(row: "Program") -> tuple[str, ...]:
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

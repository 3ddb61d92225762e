"""`jaxcls compile`: every program of a model, made for a device that need not be here."""

from pathlib import Path
from typing import Annotated

import typer

from jaxcls.cli.exits import EXIT_ERROR, reported
from jaxcls.cli.options import Format, Loading, ModelArgument, Traceback, WordLabels, result_option


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
        from jaxcls.cli.show_programs import show, told
        from jaxcls.cli.terminal import stdout_is_terminal

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
        rows = list(told(found, as_json=not table))
        if table:
            show(rows, output)
    if not all(row.fits for row in rows):
        raise typer.Exit(EXIT_ERROR)

"""The command line: classify texts and files, list supported architectures, inspect and convert models."""

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    name="jaxcls",
    help="Classify text with Hugging Face checkpoints on CPU, GPU and TPU.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

EXIT_ERROR, EXIT_USAGE, EXIT_BAD_ROWS, EXIT_INTERRUPTED, EXIT_BROKEN_PIPE = 1, 2, 3, 130, 141


def _print_version(wanted: bool) -> None:
    if wanted:
        import jaxcls

        print(jaxcls.__version__)
        raise typer.Exit


@app.callback()
def _jaxcls(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    del version


class OnError(StrEnum):
    """What happens when a row cannot be classified."""

    REPORT = "report"
    STOP = "stop"


class ConvertFormat(StrEnum):
    """Who reads a converted model."""

    JAXCLS = "jaxcls"
    TRANSFORMERS = "transformers"


class Format(StrEnum):
    """How results appear on standard output."""

    AUTO = "auto"
    TABLE = "table"
    JSON = "json"


def _json_object(value: str) -> dict[str, Any]:
    try:
        parsed = json.loads(value)
    except ValueError as error:
        raise typer.BadParameter(f"not JSON: {error}") from None
    if not isinstance(parsed, dict):
        raise typer.BadParameter(f"not a JSON object: {value}")
    return parsed


_MODEL_PANEL, _FILES_PANEL, _RESULT_PANEL = "Model", "Files of rows", "Result"


def _model_option(*names: str, help: str, **extra: Any) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=_MODEL_PANEL, **extra)


Model = Annotated[str, _model_option("--model", "-m", help='Local directory, hub id, or "demo".')]
ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help='Local directory, hub id, or "demo".')]
Revision = Annotated[str | None, _model_option("--revision", help="Branch, tag or commit on the hub.")]
Dtype = Annotated[
    str, _model_option("--dtype", help="auto (float32 on CPU, else bfloat16), float32, bfloat16, float16.")
]
Quantization = Annotated[
    str | None,
    _model_option("--quantization", help="int8: the matrices of the layers, multiplied in bfloat16; w8a8: in int8."),
]
MaxModelLen = Annotated[int | None, _model_option("--max-model-len", min=1, help="Longest text in tokens.")]
MaxTokens = Annotated[int | None, _model_option("--max-num-batched-tokens", min=16, help="Tokens of a full step.")]
HfOverrides = Annotated[
    dict | None,
    _model_option("--hf-overrides", parser=_json_object, metavar="JSON", help="Changes to config.json."),
]
PoolerOverrides = Annotated[
    dict | None,
    _model_option("--pooler-config", parser=_json_object, metavar="JSON", help="Changes to pooling and calibration."),
]
HeadInit = Annotated[
    str | None,
    _model_option("--head-init", help="zeros or random: an untrained head for a checkpoint that has none."),
]
Labels = Annotated[
    dict | None,
    _model_option("--labels", parser=_json_object, metavar="JSON", help="A language model's classes: name -> word."),
]
PromptTemplate = Annotated[
    str | None, _model_option("--prompt-template", help='What a text is put into: "Review: {text} Sentiment:".')
]
LocalFilesOnly = Annotated[bool, _model_option("--local-files-only", help="Never use the network.")]
Traceback = Annotated[bool, typer.Option("--traceback", help="Show where an error came from.")]


@contextmanager
def _reported(traceback: bool, interrupted: str = "interrupted") -> Iterator[None]:
    """Turns the errors that users meet into one line and an exit code; anything else is a bug and shown whole."""
    from jaxcls.cli.terminal import forget_stdout, message
    from jaxcls.errors import CheckpointError, JaxclsError
    from jaxcls.rows import RowsError, StoppedError

    try:
        yield
    except KeyboardInterrupt:
        message(interrupted)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except BrokenPipeError:
        forget_stdout()
        raise typer.Exit(EXIT_BROKEN_PIPE) from None
    except (JaxclsError, CheckpointError, OSError) as error:
        if traceback:
            raise
        message(f"error: {' '.join(str(error).split())}", "red")
        codes = {StoppedError: EXIT_BAD_ROWS, RowsError: EXIT_USAGE}
        raise typer.Exit(codes.get(type(error), EXIT_ERROR)) from None


@app.command()
def classify(
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="TEXT", help='Texts; "-" reads one a line from standard input.')
    ] = None,
    model: Model = "demo",
    revision: Revision = None,
    dtype: Dtype = "auto",
    quantization: Quantization = None,
    max_model_len: MaxModelLen = None,
    max_num_batched_tokens: MaxTokens = None,
    hf_overrides: HfOverrides = None,
    pooler_config: PoolerOverrides = None,
    head_init: HeadInit = None,
    labels: Labels = None,
    prompt_template: PromptTemplate = None,
    local_files_only: LocalFilesOnly = False,
    truncate: Annotated[
        int | None,
        _model_option("--truncate", min=-1, help="Keep at most so many tokens of a text; -1: the model's maximum."),
    ] = None,
    input: Annotated[
        Path | None,
        typer.Option("--input", "-i", help=".txt, .jsonl, .csv or .parquet file.", rich_help_panel=_FILES_PANEL),
    ] = None,
    column: Annotated[
        str, typer.Option("--column", help="Column of the texts.", rich_help_panel=_FILES_PANEL)
    ] = "text",
    pair_column: Annotated[
        str | None,
        typer.Option("--pair-column", help="Column of the second text of a pair.", rich_help_panel=_FILES_PANEL),
    ] = None,
    keep_columns: Annotated[
        str, typer.Option("--keep-columns", help="Columns to pass on: all, none, or a,b.", rich_help_panel=_FILES_PANEL)
    ] = "all",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help=".jsonl, .csv or .parquet file.", rich_help_panel=_FILES_PANEL),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Begin again, whatever is there.", rich_help_panel=_FILES_PANEL)
    ] = False,
    top_k: Annotated[
        int | None, typer.Option("--top-k", min=1, help="Only the best K labels.", rich_help_panel=_RESULT_PANEL)
    ] = None,
    threshold: Annotated[
        float | None, typer.Option("--threshold", help="Only labels that score this.", rich_help_panel=_RESULT_PANEL)
    ] = None,
    logits: Annotated[bool, typer.Option("--logits", help="Logits as well.", rich_help_panel=_RESULT_PANEL)] = False,
    format: Annotated[
        Format,
        typer.Option("--format", help="auto: a table on a terminal, else JSON lines.", rich_help_panel=_RESULT_PANEL),
    ] = Format.AUTO,
    on_error: Annotated[
        OnError, typer.Option("--on-error", help="Write bad rows down, or stop.", rich_help_panel=_RESULT_PANEL)
    ] = OnError.REPORT,
    allow_errors: Annotated[
        bool, typer.Option("--allow-errors", help="Exit with 0 even if rows are bad.", rich_help_panel=_RESULT_PANEL)
    ] = False,
    traceback: Traceback = False,
) -> None:
    """Classify texts, or every row of a file.

    Prints a table on a terminal and JSON lines otherwise. With --output, a run that was killed continues where it
    stopped when the same command is given again. Exit codes: 0 good, 1 error, 2 wrong usage, 3 some rows are bad.
    """
    _check_sources(texts, input, output, column, pair_column, overwrite)
    if output is not None and format is not Format.AUTO:
        raise typer.BadParameter("the format of a file is that of its name", param_hint="--format")
    from jaxcls.cli.runs import ModelOptions, classify_file, classify_to_stdout, stdin_rows, text_inputs
    from jaxcls.rows import Choice, Selection

    options = ModelOptions(
        model,
        _given(
            revision=revision,
            dtype=dtype,
            quantization=quantization,
            max_model_len=max_model_len,
            max_num_batched_tokens=max_num_batched_tokens,
            hf_overrides=hf_overrides,
            pooler_config=pooler_config,
            head_init=head_init,
            labels=labels,
            prompt_template=prompt_template,
            local_files_only=local_files_only or None,
        ),
        truncate,
    )
    choice = Choice(top_k, threshold, logits)
    table = None if format is Format.AUTO else format is Format.TABLE
    selection = Selection(column, pair_column, _kept(keep_columns))
    stop = on_error is OnError.STOP
    again = "interrupted; the same command continues from here" if output else "interrupted"
    with _reported(traceback, again):
        if input is not None and output is not None:
            errors = classify_file(options, input, output, selection, choice, overwrite=overwrite, stop_on_error=stop)
        elif input is not None:
            errors = classify_to_stdout(options, input, selection, choice, table=table, stop_on_error=stop)
        else:
            rows = stdin_rows() if texts == ["-"] else text_inputs(texts or [])
            errors = classify_to_stdout(options, rows, selection, choice, table=table, stop_on_error=stop)
    if errors and not allow_errors:
        raise typer.Exit(EXIT_BAD_ROWS)


@app.command()
def models(traceback: Traceback = False) -> None:
    """List the supported architectures: a table on a terminal, JSON lines otherwise."""
    from jaxcls.cli.show import show_models

    with _reported(traceback):
        show_models()


@app.command()
def info(
    model: ModelArgument,
    revision: Revision = None,
    dtype: Dtype = "auto",
    quantization: Quantization = None,
    max_model_len: MaxModelLen = None,
    max_num_batched_tokens: MaxTokens = None,
    hf_overrides: HfOverrides = None,
    pooler_config: PoolerOverrides = None,
    head_init: HeadInit = None,
    labels: Labels = None,
    local_files_only: LocalFilesOnly = False,
    traceback: Traceback = False,
) -> None:
    """Say what would be loaded, and why, without loading it.

    Exits with 1 if the weights are here and do not fit the model.
    """
    options = _given(
        revision=revision,
        dtype=dtype,
        quantization=quantization,
        max_model_len=max_model_len,
        max_num_batched_tokens=max_num_batched_tokens,
        hf_overrides=hf_overrides,
        pooler_config=pooler_config,
        head_init=head_init,
        labels=labels,
        local_files_only=local_files_only or None,
    )
    with _reported(traceback):
        from jaxcls.cli.show import show_info
        from jaxcls.info import describe

        description = describe(model, **options)
        show_info(description)
    if description.problems is not None:
        raise typer.Exit(EXIT_ERROR)


@app.command()
def convert(
    model: ModelArgument,
    output: Annotated[Path, typer.Argument(metavar="OUT", help="Directory that does not exist or is empty.")],
    revision: Revision = None,
    dtype: Dtype = "auto",
    quantization: Quantization = None,
    layer_layout: Annotated[
        str, _model_option("--layer-layout", help="auto, stacked (for GPU and TPU) or unrolled (for CPU).")
    ] = "auto",
    hf_overrides: HfOverrides = None,
    head_init: HeadInit = None,
    labels: Labels = None,
    format: Annotated[
        ConvertFormat, typer.Option(help="jaxcls (loads faster), or transformers (an ordinary classifier).")
    ] = ConvertFormat.JAXCLS,
    local_files_only: LocalFilesOnly = False,
    traceback: Traceback = False,
) -> None:
    """Write a model directory that loads faster, or an ordinary checkpoint of a converted language model.

    The weights of the first are as they lie in memory: in one dtype, for one kind of device. The second holds a
    classification head in place of the output matrix, and gives the same logits in transformers.
    """
    options = _given(
        revision=revision,
        dtype=dtype,
        quantization=quantization,
        layer_layout=layer_layout,
        hf_overrides=hf_overrides,
        head_init=head_init,
        labels=labels,
        local_files_only=local_files_only or None,
    )
    with _reported(traceback):
        from jaxcls.cli.show import show_converted
        from jaxcls.engine.converted import convert as convert_model
        from jaxcls.engine.export import export

        write = convert_model if format is ConvertFormat.JAXCLS else export
        show_converted(model, write(model, output, **options))


def _check_sources(
    texts: list[str] | None,
    input: Path | None,
    output: Path | None,
    column: str,
    pair_column: str | None,
    overwrite: bool,
) -> None:
    if bool(texts) == (input is not None):
        raise typer.BadParameter("give either TEXT... or --input FILE")
    if texts and "-" in texts and len(texts) > 1:
        raise typer.BadParameter('"-" (standard input) cannot be mixed with other texts')
    needs_input = {"--output": output, "--pair-column": pair_column, "--column": None if column == "text" else column}
    for name, value in needs_input.items():
        if value is not None and input is None:
            raise typer.BadParameter(f"{name} needs --input FILE; to keep results of TEXT..., redirect standard output")
    if overwrite and output is None:
        raise typer.BadParameter("--overwrite needs --output FILE")


def _kept(value: str) -> Any:
    if value in ("all", "none"):
        return value
    return tuple(next(csv.reader([value], skipinitialspace=True)))


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}

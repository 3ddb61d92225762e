"""Options that commands share, alone and in groups; nothing heavy is imported here."""

import csv
import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer


class OnError(StrEnum):
    """What happens when a row is bad."""

    REPORT = "report"
    STOP = "stop"


class Format(StrEnum):
    """How results appear on standard output."""

    AUTO = "auto"
    TABLE = "table"
    JSON = "json"


def json_object(value: str) -> dict[str, Any]:
    """An option that holds a JSON object."""
    try:
        parsed = json.loads(value)
    except ValueError as error:
        raise typer.BadParameter(f"not JSON: {error}") from None
    if not isinstance(parsed, dict):
        raise typer.BadParameter(f"not a JSON object: {value}")
    return parsed


def name_list(value: str) -> tuple[str, ...]:
    """Names with commas between them; one that holds a comma is in double quotes."""
    return tuple(next(csv.reader([value], skipinitialspace=True), ()))


def given(**options: Any) -> dict[str, Any]:
    """The options that were given."""
    return {name: value for name, value in options.items() if value is not None}


def model_option(*names: str, help: str, **extra: Any) -> Any:
    """An option that says which model, and how it is loaded."""
    return typer.Option(*names, help=help, rich_help_panel="Model", **extra)


def rows_option(*names: str, help: str, **extra: Any) -> Any:
    """An option for files of rows."""
    return typer.Option(*names, help=help, rich_help_panel="Files of rows", **extra)


def result_option(*names: str, help: str, **extra: Any) -> Any:
    """An option that says what results are, and how they appear."""
    return typer.Option(*names, help=help, rich_help_panel="Result", **extra)


Model = Annotated[str, model_option("--model", "-m", help='Local directory, hub id, or "demo".')]
ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help='Local directory, hub id, or "demo".')]
Revision = Annotated[str | None, model_option("--revision", help="Branch, tag or commit on the hub.")]
Dtype = Annotated[
    str, model_option("--dtype", help="auto (float32 on CPU, else bfloat16), float32, bfloat16, float16.")
]
Quantization = Annotated[
    str | None,
    model_option("--quantization", help="int8: the matrices of the layers, multiplied in bfloat16; w8a8: in int8."),
]
MaxModelLen = Annotated[int | None, model_option("--max-model-len", min=1, help="Longest text in tokens.")]
MaxTokens = Annotated[int | None, model_option("--max-num-batched-tokens", min=16, help="Tokens of a full step.")]
HfOverrides = Annotated[
    dict | None,
    model_option("--hf-overrides", parser=json_object, metavar="JSON", help="Changes to config.json."),
]
PoolerOverrides = Annotated[
    dict | None,
    model_option("--pooler-config", parser=json_object, metavar="JSON", help="Changes to pooling and calibration."),
]
HeadInit = Annotated[
    str | None,
    model_option("--head-init", help="zeros or random: an untrained head for a checkpoint that has none."),
]
TokenEmbedding = Annotated[
    str,
    model_option("--token-embedding", help="auto, memory, or file: the large matrix stays in the checkpoint (CPU)."),
]
WordLabels = Annotated[
    dict | None,
    model_option("--labels", parser=json_object, metavar="JSON", help="A language model's classes: name -> word."),
]
PromptTemplate = Annotated[
    str | None, model_option("--prompt-template", help='What a text is put into: "Review: {text} Sentiment:".')
]
LocalFilesOnly = Annotated[bool, model_option("--local-files-only", help="Never use the network.")]
Truncate = Annotated[
    int | None,
    model_option("--truncate", min=-1, help="Keep at most so many tokens of a text; -1: the model's maximum."),
]
PairColumn = Annotated[str | None, rows_option("--pair-column", help="Column of the second text of a pair.")]
Traceback = Annotated[bool, typer.Option("--traceback", help="Show where an error came from.")]


@dataclass(frozen=True)
class Loading:
    """How a model is loaded; the arguments of `LLM`."""

    revision: Revision = None
    dtype: Dtype = "auto"
    quantization: Quantization = None
    max_model_len: MaxModelLen = None
    max_num_batched_tokens: MaxTokens = None
    hf_overrides: HfOverrides = None
    pooler_config: PoolerOverrides = None
    head_init: HeadInit = None
    token_embedding: TokenEmbedding = "auto"
    local_files_only: LocalFilesOnly = False

    def arguments(self, **more: Any) -> dict[str, Any]:
        """Those that were given, and of `more` those that are not None."""
        return given(**{**vars(self), "local_files_only": self.local_files_only or None, **more})


@dataclass(frozen=True)
class Texts:
    """Texts on the command line, or in a column."""

    texts: Annotated[
        list[str] | None, typer.Argument(metavar="TEXT", help='Texts; "-" reads one a line from standard input.')
    ] = None
    column: Annotated[str | None, rows_option("--column", help='Column of the texts; "text" if not given.')] = None


@dataclass(frozen=True)
class Rows:
    """Files of rows, and what happens to results and errors."""

    input: Annotated[Path | None, rows_option("--input", "-i", help=".txt, .jsonl, .csv or .parquet file.")] = None
    keep_columns: Annotated[str, rows_option("--keep-columns", help="Columns to pass on: all, none, or a,b.")] = "all"
    output: Annotated[Path | None, rows_option("--output", "-o", help=".jsonl, .csv or .parquet file.")] = None
    overwrite: Annotated[bool, rows_option("--overwrite", help="Begin again, whatever is there.")] = False
    format: Annotated[Format, result_option("--format", help="auto: a table on a terminal, else JSON lines.")] = (
        Format.AUTO
    )
    on_error: Annotated[OnError, result_option("--on-error", help="Write bad rows down, or stop.")] = OnError.REPORT
    allow_errors: Annotated[bool, result_option("--allow-errors", help="Exit with 0 even if rows are bad.")] = False
    traceback: Traceback = False

    @property
    def keep(self) -> Any:
        """The columns to pass on, as a `Selection` has them."""
        return self.keep_columns if self.keep_columns in ("all", "none") else name_list(self.keep_columns)

    def check(self, texts: list[str] | None, what: str = "TEXT...", **columns: str | None) -> None:
        """Refuses sources that do not fit each other.

        Args:
            texts: given on the command line.
            what: they are called in the help.
            **columns: names of columns that were given.

        Raises:
            BadParameter: which, and what to give.
        """
        if bool(texts) == (self.input is not None):
            raise typer.BadParameter(f"give either {what} or --input FILE")
        if texts and "-" in texts and len(texts) > 1:
            raise typer.BadParameter('"-" (standard input) cannot be mixed with other texts')
        for name, value in {"output": self.output, **columns}.items():
            if value is not None and self.input is None:
                option = "--" + name.replace("_", "-")
                raise typer.BadParameter(
                    f"{option} needs --input FILE; to keep results of {what}, redirect standard output"
                )
        if self.overwrite and self.output is None:
            raise typer.BadParameter("--overwrite needs --output FILE")
        if self.output is not None and self.format is not Format.AUTO:
            raise typer.BadParameter("the format of a file is that of its name", param_hint="--format")

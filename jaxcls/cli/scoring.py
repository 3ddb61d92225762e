"""Commands that score texts and files of rows: each makes a `Task`, and one code path runs it."""

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jaxcls.cli.exits import EXIT_BAD_ROWS, reported
from jaxcls.cli.options import (
    Format,
    Loading,
    Model,
    OnError,
    PairColumn,
    PromptTemplate,
    Rows,
    Texts,
    Truncate,
    WordLabels,
    name_list,
    result_option,
    rows_option,
)

if TYPE_CHECKING:
    from jaxcls.cli.tasks import Task
    from jaxcls.rows import InputRow

_HYPOTHESIS = "This example is {}."


class Aggregation(StrEnum):
    """What becomes one span."""

    NONE = "none"
    SIMPLE = "simple"
    FIRST = "first"
    AVERAGE = "average"
    MAX = "max"


def classify(
    *,
    texts: Texts,
    pair_column: PairColumn = None,
    rows: Rows,
    model: Model = "demo",
    labels: WordLabels = None,
    prompt_template: PromptTemplate = None,
    truncate: Truncate = None,
    loading: Loading,
    top_k: Annotated[int | None, result_option("--top-k", min=1, help="Only the best K labels.")] = None,
    threshold: Annotated[float | None, result_option("--threshold", help="Only labels that score this.")] = None,
    logits: Annotated[bool, result_option("--logits", help="Logits as well.")] = False,
) -> None:
    """Classify texts, or every row of a file.

    Prints a table on a terminal and JSON lines otherwise. With --output, a run that was killed continues where it
    stopped when the same command is given again. Exit codes: 0 good, 1 error, 2 wrong usage, 3 some rows are bad.
    """
    rows.check(texts.texts, column=texts.column, pair_column=pair_column)

    def task() -> "Task[Any]":
        from jaxcls.cli.tasks import Choice, classify_task
        from jaxcls.rows import text_columns

        selection = text_columns(texts.column or "text", pair_column, rows.keep)
        return classify_task(selection, Choice(top_k, threshold, logits), truncate)

    _score(task, model, loading.arguments(labels=labels, prompt_template=prompt_template), rows, texts.texts)


def zero_shot(
    *,
    texts: Texts,
    rows: Rows,
    model: Model,
    loading: Loading,
    labels: Annotated[str, result_option("--labels", metavar="A,B,C", help="What to choose from.")],
    hypothesis_template: Annotated[
        str, result_option("--hypothesis-template", help="The sentence that a label is put into, at {}.")
    ] = _HYPOTHESIS,
    multi_label: Annotated[
        bool, result_option("--multi-label", help="Score each label on its own: several may be true.")
    ] = False,
) -> None:
    """Choose between labels of your own, by an NLI model: texts, or every row of a file.

    A text that is too long is cut. Output, resuming and exit codes are those of classify.
    """
    rows.check(texts.texts, column=texts.column)

    def task() -> "Task[Any]":
        from jaxcls.cli.tasks import zero_shot_task
        from jaxcls.errors import ConfigError
        from jaxcls.rows import text_columns

        selection = text_columns(texts.column or "text", keep=rows.keep)
        try:
            return zero_shot_task(selection, name_list(labels), hypothesis_template, multi_label=multi_label)
        except ConfigError as error:
            raise typer.BadParameter(str(error)) from None

    _score(task, model, loading.arguments(), rows, texts.texts)


def reward(
    *,
    texts: Texts,
    pair_column: Annotated[
        str | None, rows_option("--pair-column", help="Column of the answers to the prompts in --column.")
    ] = None,
    messages_column: Annotated[
        str | None,
        rows_option("--messages-column", help='Column of conversations, lists of {"role", "content"}, or their JSON.'),
    ] = None,
    rows: Rows,
    model: Model,
    truncate: Truncate = None,
    loading: Loading,
) -> None:
    """Reward texts, answers or conversations, or the steps of their reasoning.

    A text is taken as it stands; answers and conversations are rendered by the model's chat template. Rewards are raw
    logits. Output, resuming and exit codes are those of classify.
    """
    rows.check(texts.texts, column=texts.column, pair_column=pair_column, messages_column=messages_column)
    if messages_column is not None and (texts.column is not None or pair_column is not None):
        raise typer.BadParameter("--messages-column holds all: give no --column and no --pair-column beside it")

    def task() -> "Task[Any]":
        from jaxcls.cli.tasks import answer_columns, message_column, reward_task
        from jaxcls.rows import text_columns

        column = texts.column or "text"
        if messages_column is not None:
            selection = message_column(messages_column, rows.keep)
        elif pair_column is not None:
            selection = answer_columns(column, pair_column, rows.keep)
        else:
            selection = text_columns(column, keep=rows.keep)
        return reward_task(selection, truncate)

    _score(task, model, loading.arguments(), rows, texts.texts)


def tokens(
    *,
    texts: Texts,
    rows: Rows,
    model: Model,
    truncate: Truncate = None,
    loading: Loading,
    aggregation: Annotated[
        Aggregation,
        result_option(
            "--aggregation",
            help="none: a span a token; simple: neighbours of one label are one; first, average, max: and words whole.",
        ),
    ] = Aggregation.NONE,
) -> None:
    """Find labelled spans, such as names, in texts or in every row of a file.

    Output, resuming and exit codes are those of classify; in csv and parquet the spans are JSON.
    """
    rows.check(texts.texts, column=texts.column)

    def task() -> "Task[Any]":
        from jaxcls.cli.tasks import tokens_task
        from jaxcls.rows import text_columns

        return tokens_task(text_columns(texts.column or "text", keep=rows.keep), aggregation.value, truncate)

    _score(task, model, loading.arguments(), rows, texts.texts)


def _score(
    make_task: "Callable[[], Task[Any]]", model: str, options: dict[str, Any], rows: Rows, texts: list[str] | None
) -> None:
    def source() -> "Iterable[InputRow]":
        from jaxcls.cli.runs import stdin_rows, text_inputs

        return stdin_rows() if texts == ["-"] else text_inputs(texts or [])

    run_task(make_task, model, options, rows, source)


def run_task(
    make_task: "Callable[[], Task[Any]]",
    model: str,
    options: dict[str, Any],
    rows: Rows,
    arguments: "Callable[[], Iterable[InputRow]]",
) -> None:
    """Runs a task over the rows of a file, or else those of the arguments; heavy imports begin here."""
    again = "interrupted; the same command continues from here" if rows.output else "interrupted"
    with reported(rows.traceback, again):
        from jaxcls.cli.runs import ModelOptions, score_file, score_to_stdout

        task, opened = make_task(), ModelOptions(model, options)
        stop = rows.on_error is OnError.STOP
        if rows.input is not None and rows.output is not None:
            errors = score_file(task, opened, rows.input, rows.output, overwrite=rows.overwrite, stop_on_error=stop)
        else:
            table = None if rows.format is Format.AUTO else rows.format is Format.TABLE
            errors = score_to_stdout(task, opened, rows.input or arguments(), table=table, stop_on_error=stop)
    if errors and not rows.allow_errors:
        raise typer.Exit(EXIT_BAD_ROWS)

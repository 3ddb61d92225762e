"""What people see: tables on standard output, progress and messages on standard error. No jax here."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TaskProgressColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.table import Table
from rich.text import Text

from jaxcls.rows import JsonFormat, OutputRow, Progress, Sink, Summary

_BAR = 8
_LABEL = 24
_SHORT = 200


def stdout_is_terminal() -> bool:
    """Whether a person reads standard output."""
    return sys.stdout.isatty()


def message(text: str, style: str = "") -> None:
    """One line on standard error; coloured there only on a terminal."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(Text(text, style=style))


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """Shows what is being waited for, on a terminal."""
    with Console(stderr=True).status(text):
        yield


class JsonStream(Sink):
    """JSON lines on standard output."""

    block_seconds = 0.2

    def __init__(self) -> None:
        self._format = JsonFormat()

    def start(self, labels: tuple[str, ...]) -> None:
        """Nothing to prepare."""

    def _write(self, rows: Sequence[OutputRow]) -> None:
        sys.stdout.buffer.write(b"".join(map(self._format.line, rows)))
        sys.stdout.buffer.flush()


class TableStream(Sink):
    """Tables on standard output, a page of rows each."""

    block_rows = 40
    block_seconds = 5.0

    def __init__(self, *, logits: bool) -> None:
        self._console = Console()
        self._logits = logits

    def start(self, labels: tuple[str, ...]) -> None:
        """Nothing to prepare."""

    def _write(self, rows: Sequence[OutputRow]) -> None:
        table = Table(expand=True, box=SIMPLE_HEAD)
        table.add_column("text", ratio=1, no_wrap=True, overflow="ellipsis")
        table.add_column("label", no_wrap=True, max_width=_LABEL, overflow="ellipsis")
        table.add_column("score", no_wrap=True, min_width=_BAR + 7)
        table.add_column("others", ratio=1, no_wrap=not any(row.error for row in rows), overflow="ellipsis")
        if self._logits:
            table.add_column("logits", ratio=1)
        for row in rows:
            table.add_row(*_cells(row, logits=self._logits))
        self._console.print(table)


def _cells(row: OutputRow, *, logits: bool) -> list[Text]:
    prompt = row.prompt if row.prompt is not None else next(iter(row.columns.values()), "")
    texts = prompt if isinstance(prompt, tuple) else (str(prompt),)
    text = Text(" | ".join(" ".join(part[:_SHORT].split()) for part in texts))
    if row.error is not None:
        return [text, Text("error", "red"), Text(""), Text(row.error, "red"), *[Text("")] * logits]
    ranked = list(row.probs.items())
    best = row.label if row.label is not None else next(iter(row.probs), None)
    score = row.score if best is None or best not in row.probs else row.probs[best]
    others = ", ".join(f"{label} {_number(value)}" for label, value in ranked if label != best)
    cells = [text, Text("-" if best is None else best, "bold"), _score(score), Text(others, "dim")]
    if logits:
        cells.append(Text(", ".join(f"{label} {_raw(value)}" for label, value in (row.logits or {}).items())))
    return cells


def _score(value: float | None) -> Text:
    if value is None or not 0 <= value <= 1:
        return Text(_number(value))
    filled = round(value * _BAR)
    return Text.assemble(f"{_number(value):>6} ", ("█" * filled, "green"), ("·" * (_BAR - filled), "dim"))


def _number(value: float | None) -> str:
    """Probabilities as percentages, anything else as it is."""
    return f"{100 * value:.1f}%" if value is not None and 0 <= value <= 1 else _raw(value)


def _raw(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A plain table on standard output; cells are taken literally, those of the first column are never broken."""
    table = Table(box=SIMPLE_HEAD, show_header=any(columns))
    for i, column in enumerate(columns):
        table.add_column(column, overflow="fold", no_wrap=i == 0)
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)


class _RateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        """Rows, rows/s and tokens/s of this run."""
        fields: dict[str, Any] = task.fields
        return Text(f"{fields['rows']:,} rows  {rates(fields['new'], fields['tokens'], fields['seconds'])}")


class BarProgress(Progress):
    """A progress bar on standard error."""

    def __init__(self) -> None:
        columns = (BarColumn(), TaskProgressColumn(), _RateColumn(), TimeRemainingColumn())
        self._bar = RichProgress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False)
        self._fields = {"rows": 0, "new": 0, "tokens": 0, "seconds": 0.0}
        self._task = self._bar.add_task("", total=1.0, **self._fields)
        self._fraction: Callable[[], float] = lambda: 0.0
        self._start = self._shown = time.monotonic()

    def __enter__(self) -> "BarProgress":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def begin(self, done: int, fraction: Callable[[], float]) -> None:
        """Shows the bar."""
        self._fields["rows"] = done
        self._fraction = fraction
        self._start = self._shown = time.monotonic()
        self._bar.start()

    def advance(self, row: OutputRow) -> None:
        """Counts a row; draws ten times a second."""
        fields = self._fields
        fields["rows"] += 1
        fields["new"] += 1
        fields["tokens"] += row.tokens
        now = time.monotonic()
        if now - self._shown > 0.1:
            self._shown = now
            fields["seconds"] = now - self._start
            self._bar.update(self._task, completed=self._fraction(), refresh=True, **fields)


def rates(rows: int, tokens: int, seconds: float) -> str:
    """Rows and tokens per second."""
    seconds = max(seconds, 1e-9)
    return f"{rows / seconds:,.0f} rows/s  {tokens / seconds:,.0f} tokens/s"


def summary_line(summary: Summary, target: str) -> str:
    """The last line of a run."""
    failed = f" ({summary.errors:,} with an error)" if summary.errors else ""
    if summary.was_complete:
        return f"{target} is already complete: {summary.rows:,} rows{failed}"
    new = summary.rows - summary.before
    resumed = f", {summary.before:,} of them from before" if summary.before else ""
    speed = rates(new, summary.tokens, summary.seconds) if new else "nothing was left to classify"
    return f"{summary.rows:,} rows{failed}{resumed} in {summary.seconds:.1f} s: {speed} -> {target}"


def forget_stdout() -> None:
    """After the reader of standard output has gone: nothing more can be written, also not at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

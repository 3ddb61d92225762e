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

from jaxcls.rows import Field, JsonFormat, OutputRow, Progress, Sink, Summary

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

    def start(self, fields: Sequence[Field]) -> None:
        """Prepares the format."""
        self._format = JsonFormat(fields)

    def _write(self, rows: Sequence[OutputRow]) -> None:
        sys.stdout.buffer.write(b"".join(map(self._format.line, rows)))
        sys.stdout.buffer.flush()


class TableStream(Sink):
    """Tables on standard output, a page of rows each."""

    block_rows = 40
    block_seconds = 5.0

    def start(self, fields: Sequence[Field]) -> None:
        """Prepares the columns: the row's texts, and each field."""
        self._console = Console()
        self._fields = fields

    def _write(self, rows: Sequence[OutputRow]) -> None:
        table = Table(expand=True, box=SIMPLE_HEAD)
        table.add_column("text", ratio=1, no_wrap=True, overflow="ellipsis")
        for field in self._fields[:-1]:
            wide = field.keys is not None
            table.add_column(
                field.name,
                ratio=1 if wide else None,
                no_wrap=True,
                min_width=_BAR + 7 if field.is_number else None,
                max_width=None if wide else _LABEL,
                overflow="ellipsis",
            )
        # The last has room for errors.
        table.add_column(self._fields[-1].name, ratio=1)
        for row in rows:
            cells = [_cell(field, row.record.get(field.name)) for field in self._fields]
            if row.error is not None:
                cells[-1] = Text(row.error, "red")
            table.add_row(_shown_item(row), *cells)
        self._console.print(table)


def _shown_item(row: OutputRow) -> Text:
    """The texts of a row, whatever its item is made of."""
    item = row.item if row.item is not None else next(iter(row.columns.values()), "")
    return Text(" | ".join(" ".join(text[:_SHORT].split()) for text in _texts(item)))


def _texts(item: Any) -> Iterator[str]:
    match item:
        case {"content": content}:
            yield str(content)
        case list() | tuple():
            for part in item:
                yield from _texts(part)
        case _:
            yield str(item)


def _cell(field: Field, value: Any) -> Text:
    if value is None:
        return Text("-" if field.keys is None else "")
    if field.shown is not None:
        return Text(field.shown(value))
    if field.keys is not None:
        probable = field.type == "probability"
        shown = ", ".join(f"{key} {_number(score) if probable else _raw(score)}" for key, score in value.items())
        # Best first: what does not fit says least.
        return Text(shown, "dim", no_wrap=probable, overflow="ellipsis")
    if field.type == "text":
        return Text(value, "bold")
    return _score(value) if field.type == "probability" else Text(_raw(value))


def _score(value: float) -> Text:
    if not 0 <= value <= 1:
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
    speed = rates(new, summary.tokens, summary.seconds) if new else "nothing was left to do"
    return f"{summary.rows:,} rows{failed}{resumed} in {summary.seconds:.1f} s: {speed} -> {target}"


def forget_stdout() -> None:
    """After the reader of standard output has gone: nothing more can be written, also not at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

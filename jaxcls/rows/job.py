"""Scoring a file of rows into another file, so that a killed run continues where it stopped."""

import hashlib
import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxcls.errors import JaxclsError
from jaxcls.rows.columns import InputRow, Selection
from jaxcls.rows.errors import RowsError
from jaxcls.rows.files import replace_file
from jaxcls.rows.open import open_reader, open_sink
from jaxcls.rows.record import OutputRow, failed, scored
from jaxcls.rows.results import Scorer
from jaxcls.rows.sinks import FileSink, Sink

_FORMAT = 2
_PENDING = 2**16
"""Rows that may wait for their turn; reached only where very many bad rows follow each other."""


class StoppedError(JaxclsError):
    """A run was told to stop at the first row with an error."""


@dataclass(frozen=True)
class Job:
    """A file to score.

    Attributes:
        input: Rows to read.
        output: File to write.
        selection: Which columns are read and passed on.
        settings: Everything else that decides the results, the task, its options and the model, as JSON values: a run
            continues only with the same.
        overwrite: Begin again, whatever is there.
        stop_on_error: Raise `StoppedError` at the first bad row instead of writing it down.
    """

    input: Path
    output: Path
    selection: Selection
    settings: Mapping[str, Any] = field(default_factory=dict)
    overwrite: bool = False
    stop_on_error: bool = False


@dataclass
class Summary:
    """What a run did.

    Attributes:
        before: Rows found in the output, written by earlier runs.
        rows: Rows in the output now.
        errors: How many of them have an error.
        tokens: Tokens of the rows of this run.
        seconds: Time this run took, the loading of the model excluded.
        was_complete: Nothing was left to do.
    """

    before: int = 0
    rows: int = 0
    errors: int = 0
    tokens: int = 0
    seconds: float = 0.0
    was_complete: bool = False


class Progress:
    """Told of the course of a run; the base class keeps silent."""

    def begin(self, done: int, fraction: Callable[[], float]) -> None:
        """The model is loaded, `done` rows are there already; `fraction` says how much of the input was read."""

    def advance(self, row: OutputRow) -> None:
        """A row is finished."""


def run(job: Job, open_model: Callable[[], Scorer[Any]], progress: Progress) -> Summary:
    """Scores what is left of a job; the model is opened only if something is.

    Raises:
        RowsError: the files or options cannot be used, or the output belongs to another run.
        StoppedError: a row has an error and the job says to stop there.
    """
    if job.output.exists() and job.output.samefile(job.input):
        raise RowsError(f"{job.output} is the input itself; choose another --output")
    reader = open_reader(job.input, job.selection, job.output.suffix)
    sidecar = Sidecar(job)
    if not job.overwrite:
        sidecar.check()
    sink = open_sink(job.output, reader)
    try:
        before = _prepare(job, sidecar, sink)
        if sidecar.complete == before and sink.is_started:
            sink.discard_leftovers()
            return Summary(before, sink.rows, sink.errors, was_complete=True)
        summary = Summary(before)
        rows = reader.rows(skip=before)
        first = next(rows, None)
        if first is not None or not sink.is_started:
            scorer = open_model()
            sidecar.check_model(scorer.identity)
            sink.start(scorer.results.fields)
            progress.begin(before, lambda: reader.fraction)
            results = score_rows(_chain(first, rows), scorer)
            _drain(results, sink, summary, progress, stop_on_error=job.stop_on_error)
        sink.finish()
        sidecar.write(complete=sink.rows)
        sink.discard_leftovers()
        summary.rows, summary.errors = sink.rows, sink.errors
        return summary
    finally:
        sink.close()


def _prepare(job: Job, sidecar: "Sidecar", sink: FileSink) -> int:
    """Brings the output into a state that can be continued; returns the rows that it has."""
    if job.overwrite:
        sidecar.path.unlink(missing_ok=True)
        sidecar.exists = False
        sink.reset()
    elif not sidecar.exists and not sink.is_empty:
        raise RowsError(
            f"{job.output} exists and was not begun by this command ({sidecar.path.name} is not there); "
            "pass --overwrite to replace it, or choose another --output"
        )
    if sidecar.exists:
        sink.recover()
    else:
        sidecar.write(complete=None)
    return sink.rows


def _drain(
    results: Iterable[OutputRow], sink: Sink, summary: Summary, progress: Progress, *, stop_on_error: bool
) -> None:
    start = time.monotonic()
    try:
        for row in write_blocks(results, sink, stop_on_error=stop_on_error):
            summary.tokens += row.tokens
            progress.advance(row)
    finally:
        summary.seconds = time.monotonic() - start


def write_blocks(results: Iterable[OutputRow], sink: Sink, *, stop_on_error: bool = False) -> Iterator[OutputRow]:
    """Writes rows to a sink in blocks, yielding each row; what has come is written also when the rest fails."""
    block: list[OutputRow] = []
    due = time.monotonic() + sink.block_seconds
    try:
        for row in results:
            if stop_on_error and row.error is not None:
                raise StoppedError(f"row {row.row}: {row.error}")
            block.append(row)
            yield row
            if len(block) >= sink.block_rows or time.monotonic() >= due:
                done, block = block, []
                sink.write(done)
                due = time.monotonic() + sink.block_seconds
    finally:
        if block:
            sink.write(block)


def score_rows(rows: Iterable[InputRow], scorer: Scorer[Any]) -> Iterator[OutputRow]:
    """One output row for each input row, in order; only the good ones go through the model."""
    source = iter(rows)
    waiting: deque[InputRow] = deque()
    exhausted = False

    def items() -> Iterator[Any]:
        nonlocal exhausted
        for row in source:
            waiting.append(row)
            if row.item is not None:
                yield row.item
            if len(waiting) >= _PENDING:
                return
        exhausted = True

    while not exhausted:
        for output in scorer.run(items()):
            yield from _leading_bad(waiting)
            yield scored(waiting.popleft(), output, scorer.results)
        yield from _leading_bad(waiting)
        if waiting:
            raise RuntimeError(f"the model left {len(waiting)} rows without an output, from row {waiting[0].index} on")


def _leading_bad(waiting: deque[InputRow]) -> Iterator[OutputRow]:
    while waiting and waiting[0].item is None:
        row = waiting.popleft()
        yield failed(row, row.error or "")


def _chain(first: InputRow | None, rest: Iterator[InputRow]) -> Iterator[InputRow]:
    if first is not None:
        yield first
    yield from rest


class Sidecar:
    """`<output>.progress.json`: which run an output belongs to, and whether it is complete.

    Attributes:
        path: The file.
        run: What decides the content of the output: the input's content, what is read, the model, what is written.
        exists: Whether the file is there.
        complete: Rows of the completed output, None while it is not complete.
        model: Identity of the checkpoint that the output was begun with, None if it has no rows yet.
    """

    def __init__(self, job: Job) -> None:
        self.path = job.output.with_name(job.output.name + ".progress.json")
        self.exists = self.path.exists()
        self.complete: int | None = None
        self.model: str | None = None
        with job.input.open("rb") as stream:
            content = hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
        settings = {**job.selection.settings, **job.settings}
        self.run: dict[str, Any] = json.loads(json.dumps({"content of the input": content, **settings}))

    def check(self) -> None:
        """Reads the file, if there is one.

        Raises:
            RowsError: it belongs to another run, or cannot be read.
        """
        if not self.exists:
            return
        try:
            saved = json.loads(self.path.read_bytes())
            version, run = saved["format"], saved["run"]
            complete, model = saved["complete"], saved["model"]
        except (ValueError, KeyError, TypeError) as problem:
            raise RowsError(f"{self.path} cannot be read ({problem}); pass --overwrite to begin again") from problem
        if version != _FORMAT:
            raise RowsError(f"{self.path} was written by another version; pass --overwrite to begin again")
        if complete is None and model is None:
            return  # it had no model yet, and so has no rows
        self.complete, self.model = complete, model
        changes = [name for name in {**run, **self.run} if run.get(name) != self.run.get(name)]
        if changes:
            raise RowsError(
                f"the output was begun by a run that differs in {', '.join(map(repr, changes))} ({self.path.name}); "
                "pass --overwrite to begin again, or choose another --output"
            )

    def check_model(self, identity: str) -> None:
        """Notes which checkpoint this is.

        Raises:
            RowsError: the output was begun with another.
        """
        if self.model is None:
            self.model = identity
            self.write(complete=None)
        elif self.model != identity:
            raise RowsError(
                f"the files of the model are not those that the output was begun with ({self.path.name}); "
                "pass --overwrite to begin again, or choose another --output"
            )

    def write(self, complete: int | None) -> None:
        """Writes the file."""
        self.exists, self.complete = True, complete
        record = {"format": _FORMAT, "run": self.run, "model": self.model, "complete": complete}
        replace_file(self.path, json.dumps(record, indent=1).encode())

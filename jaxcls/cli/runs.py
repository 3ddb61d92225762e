"""What the scoring commands do once their arguments are read: one code path for all tasks."""

import hashlib
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxcls.cli.tasks import Task
from jaxcls.cli.terminal import BarProgress, JsonStream, TableStream, message, stdout_is_terminal, summary_line, waiting
from jaxcls.rows import (
    InputRow,
    Job,
    Progress,
    Scorer,
    Sink,
    Summary,
    open_reader,
    run,
    score_rows,
    text_rows,
    write_blocks,
)

_SCORES_UNCHANGED = frozenset(("local_files_only", "max_num_batched_tokens"))
# The manifest of converted weights has the checksum of every file.
_HASHED = ("*.json", "*.safetensors", "*.txt", "*.model", "*/manifest.json")


@dataclass(frozen=True)
class ModelOptions:
    """A model, and the arguments of `LLM` that were given."""

    model: str
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def deciding(self) -> dict[str, Any]:
        """What decides the scores."""
        kept = {name: value for name, value in self.options.items() if name not in _SCORES_UNCHANGED}
        return {"model": self.model, **kept}

    def open(self, task: Task[Any], *, identity: bool = False) -> Scorer[Any]:
        """Loads the model for a task; with `identity` also hashes its files, a second for each GB."""
        with waiting(f"loading {self.model}"):
            from jaxcls import LLM

            llm = LLM(self.model, **self.options)
        checkpoint = llm.model.checkpoint
        call, results = task.call(llm.model), task.results(llm.model)
        checkpoint.check_task(call.task)
        known = checkpoint.path.name if checkpoint.is_hub else ""
        return Scorer(
            lambda items: llm.stream(call, items, on_error="return"),
            results,
            (known or content_hash(checkpoint.path)) if identity else "",
        )


def content_hash(directory: Path) -> str:
    """A hash of the files of a model."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(path for pattern in _HASHED for path in directory.glob(pattern)):
        with path.open("rb") as stream:
            content = hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).digest()
        digest.update(path.relative_to(directory).as_posix().encode() + b"\0" + content)
    return digest.hexdigest()


def text_inputs(texts: list[str]) -> Iterator[InputRow]:
    """Rows of texts given as arguments."""
    return (InputRow(index, text, {"text": text}) for index, text in enumerate(texts))


def stdin_rows() -> Iterator[InputRow]:
    """Rows of standard input, one a line."""
    return text_rows(sys.stdin.buffer)


def score_file(
    task: Task[Any], model: ModelOptions, source: Path, target: Path, *, overwrite: bool, stop_on_error: bool
) -> int:
    """Scores a file into a file, continuing an earlier run; returns the number of rows with an error."""
    settings = {**task.settings, **model.deciding}
    job = Job(source, target, task.selection, settings, overwrite, stop_on_error)
    with ExitStack() as stack:
        progress = stack.enter_context(BarProgress()) if sys.stderr.isatty() else Progress()
        summary = run(job, lambda: model.open(task, identity=True), progress)
    message(summary_line(summary, str(target)))
    return summary.errors


def score_to_stdout(
    task: Task[Any], model: ModelOptions, source: Path | Iterable[InputRow], *, table: bool | None, stop_on_error: bool
) -> int:
    """Scores a file or rows onto standard output; returns the number of rows with an error.

    `table` says whether they appear as a table or as JSON lines; None: a table if a person reads them.
    """
    reader = open_reader(source, task.selection) if isinstance(source, Path) else None
    rows = source if isinstance(source, Iterable) else reader.rows() if reader is not None else ()
    sink: Sink = TableStream() if (stdout_is_terminal() if table is None else table) else JsonStream()
    scorer = model.open(task)
    sink.start(scorer.results.fields)
    summary = Summary()
    with ExitStack() as stack:
        progress = Progress()
        if reader is not None and sys.stderr.isatty() and not stdout_is_terminal():
            progress = stack.enter_context(BarProgress())
            progress.begin(0, lambda: reader.fraction)
        start = time.monotonic()
        for row in write_blocks(score_rows(rows, scorer), sink, stop_on_error=stop_on_error):
            summary.tokens += row.tokens
            progress.advance(row)
        summary.seconds = time.monotonic() - start
    summary.rows, summary.errors = sink.rows, sink.errors
    if reader is not None:
        message(summary_line(summary, "standard output"))
    return sink.errors

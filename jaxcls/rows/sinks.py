"""Files that output rows are appended to durably, and that a later run can continue.

After a crash a file holds whole rows and perhaps the beginning of one more. `recover` counts the whole rows, which are
numbered from 0, and cuts off whatever follows them.
"""

import csv
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jaxcls.rows.errors import RowsError
from jaxcls.rows.files import AppendedFile
from jaxcls.rows.json_values import to_cell
from jaxcls.rows.record import FlatFormat, JsonFormat, OutputRow
from jaxcls.rows.results import Field

_NEEDS_QUOTES = re.compile(r'[,"\r\n]|^\s|\s$')


class Sink(ABC):
    """Where the rows of a run go.

    Attributes:
        rows: Rows written so far, also by earlier runs.
        errors: How many of them have an error.
        block_rows: Rows to collect before a write.
        block_seconds: Longest time to collect rows for.
    """

    rows: int = 0
    errors: int = 0
    block_rows: int = 1000
    block_seconds: float = 1.0

    @abstractmethod
    def start(self, fields: Sequence[Field]) -> None:
        """Called once before the first write, with the names that a result has."""

    def write(self, rows: Sequence[OutputRow]) -> None:
        """Writes rows that follow those already written; when this returns they survive a crash of the process."""
        if [row.row for row in rows] != list(range(self.rows, self.rows + len(rows))):
            raise RuntimeError(f"rows out of order: {self.rows} rows are written, then came {rows[0].row}")
        self._write(rows)
        self.rows += len(rows)
        self.errors += sum(row.error is not None for row in rows)

    @abstractmethod
    def _write(self, rows: Sequence[OutputRow]) -> None: ...


class FileSink(Sink):
    """A sink in a file, locked while it is open."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    @abstractmethod
    def is_empty(self) -> bool:
        """Whether there is nothing here that a fresh run would destroy."""

    @property
    @abstractmethod
    def is_started(self) -> bool:
        """Whether the file is valid as it stands, so that a run without further rows needs no model."""

    @abstractmethod
    def recover(self) -> None:
        """Counts the whole rows from earlier runs and cuts off the rest."""

    @abstractmethod
    def reset(self) -> None:
        """Removes everything."""

    @abstractmethod
    def finish(self) -> None:
        """Completes the file; may be called again after a crash in the middle of it."""

    def discard_leftovers(self) -> None:
        """Removes what a completed file no longer needs."""
        return

    @abstractmethod
    def close(self) -> None:
        """Releases the file."""


class _LinesSink(FileSink):
    """What the sinks of line-based files share."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._file = AppendedFile(path)

    @property
    def is_empty(self) -> bool:
        return self._file.size == 0

    def reset(self) -> None:
        self._file.truncate(0)

    def finish(self) -> None:
        return

    def close(self) -> None:
        self._file.close()


class JsonLinesSink(_LinesSink):
    """A .jsonl file."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._format: JsonFormat | None = None

    @property
    def is_started(self) -> bool:
        return True

    def recover(self) -> None:
        size = 0
        for line in self._file.lines():
            if not line.startswith(b'{"row": %d,' % self.rows) or not line.endswith(b"}\n"):
                break
            size += len(line)
            self.rows += 1
            self.errors += b'"error": ' in line and "error" in json.loads(line)
        self._file.truncate(size)

    def start(self, fields: Sequence[Field]) -> None:
        self._format = JsonFormat(fields)

    def _write(self, rows: Sequence[OutputRow]) -> None:
        assert self._format is not None
        self._file.append(b"".join(map(self._format.line, rows)))


class CsvSink(_LinesSink):
    """A .csv file with a header; the columns of a `FlatFormat`."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        super().__init__(path)
        self._columns = columns
        self._header: list[str] | None = None
        self._format: FlatFormat | None = None

    @property
    def is_started(self) -> bool:
        return self._header is not None

    def recover(self) -> None:
        size = 0
        with _fields_of_any_size():
            for fields, end in _whole_records(self._file.lines()):
                if self._header is None:
                    self._header = fields
                elif len(fields) != len(self._header) or fields[0] != str(self.rows):
                    break
                else:
                    self.rows += 1
                    self.errors += fields[-1] != ""
                size = end
        self._file.truncate(size)

    def start(self, fields: Sequence[Field]) -> None:
        self._format = FlatFormat(self._columns, fields)
        names = list(self._format.names)
        if self._header is None:
            self._header = names
            self._file.append(csv_line(names))
        elif self._header != names:
            raise changed_columns(self.path, self._header, names)

    def _write(self, rows: Sequence[OutputRow]) -> None:
        assert self._format is not None
        self._file.append(b"".join(csv_line(self._format.values(row)) for row in rows))


def changed_columns(path: Path, before: Iterable[str], now: Iterable[str]) -> RowsError:
    """The error for a model whose results are not those that an output was begun with."""
    return RowsError(
        f"{path} was begun with the columns {', '.join(before)}, but the model now gives {', '.join(now)}; "
        "pass --overwrite to begin again"
    )


def csv_line(values: Iterable[Any]) -> bytes:
    """One csv record with its line end."""
    return (",".join(_quoted(to_cell(value)) for value in values) + "\n").encode(errors="replace")


def _quoted(cell: str) -> str:
    if _NEEDS_QUOTES.search(cell):
        return '"' + cell.replace('"', '""') + '"'
    return cell


@contextmanager
def _fields_of_any_size() -> Iterator[None]:
    """What was written can be read: the limit of the csv module, one for the whole process, is for inputs."""
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _whole_records(lines: Iterable[bytes]) -> Iterator[tuple[list[str], int]]:
    """Records that are complete up to their line end, each with the offset in bytes where it ends."""
    end = 0
    whole = False

    def decoded() -> Iterator[str]:
        nonlocal end, whole
        for line in lines:
            end += len(line)
            whole = line.endswith(b"\n")
            yield line.decode(errors="surrogateescape")

    records = csv.reader(decoded(), strict=True)
    while True:
        try:
            fields = next(records, None)
        except csv.Error:
            return
        if not fields or not whole:
            return
        yield fields, end

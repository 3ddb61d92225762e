"""Files of texts, read row by row in bounded memory.

A reader yields one `InputRow` for each row of its file, in order and numbered from 0. A row that cannot be used (no
such column, null, not text, broken JSON, not UTF-8) is yielded too, with `error` set: rows are never dropped.
"""

import csv
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from jaxcls.rows.columns import InputRow, Selection
from jaxcls.rows.errors import RowsError

MAX_ROW_BYTES = 16 * 2**20
"""Longest line, and longest csv field; more than this is a row with an error, so that memory stays bounded."""

_PEEK = 100
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class Reader(ABC):
    """A file of rows.

    Attributes:
        path: The file.
        selection: Which of its columns are read.
        columns: Names of the columns passed on, in the file's order; None where each row has its own.
    """

    columns: tuple[str, ...] | None

    def __init__(self, path: Path, selection: Selection) -> None:
        self.path = path
        self.selection = selection

    @property
    @abstractmethod
    def fraction(self) -> float:
        """How much of the file has been read, 0 to 1."""

    @abstractmethod
    def rows(self, skip: int = 0) -> Iterator[InputRow]:
        """The rows from number `skip` on."""


class _Lines:
    """Lines of a binary stream with their ends; a line over the limit is cut short and marked in `cut`."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream
        self.bytes_read = 0
        self.cut = False

    def __iter__(self) -> Iterator[bytes]:
        while line := self._next():
            first = self.bytes_read == 0
            self.bytes_read += len(line)
            if len(line) > MAX_ROW_BYTES:
                self.cut = True
                self._skip_rest(line)
            yield line.removeprefix(b"\xef\xbb\xbf") if first else line

    def _next(self) -> bytes:
        return self.stream.readline(MAX_ROW_BYTES + 1)

    def _skip_rest(self, line: bytes) -> None:
        while line and not line.endswith(b"\n"):
            line = self._next()
            self.bytes_read += len(line)

    def take_cut(self) -> bool:
        """Whether a line was cut since the last call."""
        cut, self.cut = self.cut, False
        return cut


_TOO_LONG = f"the row is longer than {MAX_ROW_BYTES // 2**20} MiB"


class _FileReader(Reader):
    """What the readers of line-based files share: how far the file has been read."""

    def __init__(self, path: Path, selection: Selection) -> None:
        super().__init__(path, selection)
        self._size = max(path.stat().st_size, 1)
        self._lines: _Lines | None = None

    @property
    def fraction(self) -> float:
        """How much of the file has been read, 0 to 1."""
        return 0.0 if self._lines is None else min(self._lines.bytes_read / self._size, 1.0)


def text_rows(stream: IO[bytes], name: str = "text") -> Iterator[InputRow]:
    """Rows of a stream that holds one text a line; empty lines are empty texts."""
    return _text_rows(_Lines(stream), name, keep=True)


def _text_rows(lines: _Lines, name: str, *, keep: bool) -> Iterator[InputRow]:
    for index, line in enumerate(lines):
        if lines.take_cut():
            yield InputRow(index, None, {}, _TOO_LONG)
            continue
        data = line.removesuffix(b"\n").removesuffix(b"\r")
        try:
            text, error = data.decode(), None
        except UnicodeDecodeError as problem:
            text, error = data.decode(errors="replace"), _not_utf8(problem)
        yield InputRow(index, text if error is None else None, {name: text} if keep else {}, error)


class TextReader(_FileReader):
    """A .txt file: one text a line, in a column called "text"."""

    def __init__(self, path: Path, selection: Selection) -> None:
        super().__init__(path, selection)
        self.columns = selection.kept(("text",), path)

    def rows(self, skip: int = 0) -> Iterator[InputRow]:
        """The rows from number `skip` on."""
        with self.path.open("rb") as stream:
            self._lines = _Lines(stream)
            for row in _text_rows(self._lines, "text", keep=bool(self.columns)):
                if row.index >= skip:
                    yield row


class JsonLinesReader(_FileReader):
    """A .jsonl file: one JSON object a line; blank lines are not rows."""

    def __init__(self, path: Path, selection: Selection) -> None:
        super().__init__(path, selection)
        self.columns = selection.keep if isinstance(selection.keep, tuple) else () if selection.keep == "none" else None
        self._check_columns()

    def rows(self, skip: int = 0) -> Iterator[InputRow]:
        """The rows from number `skip` on."""
        for index, (line, cut) in enumerate(self._records()):
            if index >= skip:
                yield self._row(index, line, cut)

    def _records(self) -> Iterator[tuple[bytes, bool]]:
        with self.path.open("rb") as stream:
            self._lines = _Lines(stream)
            for line in self._lines:
                if line.strip():
                    yield line, self._lines.take_cut()

    def _row(self, index: int, line: bytes, cut: bool) -> InputRow:
        record = _TOO_LONG if cut else parse_object(line)
        if isinstance(record, str):
            return InputRow(index, None, {}, record)
        kept = record if self.columns is None else {name: record.get(name) for name in self.columns}
        return self.selection.row(index, record, kept)

    def _check_columns(self) -> None:
        """Refuses a column that none of the first objects has: it is misspelt."""
        seen: dict[str, None] = {}
        for count, (line, _) in enumerate(self._records()):
            record = parse_object(line)
            seen.update(dict.fromkeys(record) if isinstance(record, dict) else {})
            if count == _PEEK:
                break
        if seen:
            self.selection.kept(tuple(seen), self.path)


def parse_object(line: bytes) -> dict[str, Any] | str:
    """The JSON object of a line, or what is wrong with it."""
    try:
        record = _DECODER.decode(line.decode().strip())
        if _SURROGATE.search(line):
            json.dumps(record, ensure_ascii=False).encode()
    except UnicodeDecodeError as problem:
        return _not_utf8(problem)
    except UnicodeEncodeError:
        return "invalid JSON: a string holds half of a surrogate pair"
    except RecursionError:
        return "invalid JSON: nested too deeply"
    except ValueError as problem:
        return f"invalid JSON: {problem}"
    return record if isinstance(record, dict) else f"not a JSON object but {type(record).__name__}"


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)


class CsvReader(_FileReader):
    """A .csv file: a header, commas, double quotes; fields may hold line breaks; blank lines are not rows."""

    def __init__(self, path: Path, selection: Selection) -> None:
        super().__init__(path, selection)
        self._bad: UnicodeDecodeError | None = None
        # One limit for the whole process is all the csv module has; its default of 128 KiB is too small for documents.
        csv.field_size_limit(MAX_ROW_BYTES)
        header = self._header()
        self.header = header
        self.columns = self._kept = selection.kept(header, path)

    def rows(self, skip: int = 0) -> Iterator[InputRow]:
        """The rows from number `skip` on."""
        index = -1
        for fields in self._records():
            if index >= skip:
                yield self._row(index, fields)
            index += 1

    def _header(self) -> tuple[str, ...]:
        header = next(self._records(), [])
        if isinstance(header, str) or self._bad is not None:
            raise RowsError(f"the header of {self.path} cannot be read: {self._bad or header}")
        if not header:
            raise RowsError(f"{self.path} is empty: a csv file starts with a line of column names")
        return tuple(header)

    def _records(self) -> Iterator[list[str] | str]:
        """Fields of each record, or what is wrong with it."""
        with self.path.open("rb") as stream:
            self._lines = _Lines(stream)
            records = csv.reader(self._decoded(self._lines), strict=True)
            while True:
                self._bad = None
                try:
                    fields = next(records)
                except StopIteration:
                    return
                except csv.Error as problem:
                    yield _TOO_LONG if self._lines.take_cut() else f"invalid csv: {problem}"
                    continue
                if fields:
                    yield fields

    def _decoded(self, lines: _Lines) -> Iterator[str]:
        for line in lines:
            try:
                # A line cut short could leave a quote open, which would swallow the next rows; this ends the record.
                yield '"x"x' if lines.cut else line.decode()
            except UnicodeDecodeError as problem:
                self._bad = problem
                yield line.decode(errors="replace")

    def _row(self, index: int, fields: list[str] | str) -> InputRow:
        if isinstance(fields, str):
            return InputRow(index, None, {}, fields)
        record = dict(zip(self.header, fields, strict=False))
        kept = {name: record[name] for name in self._kept if name in record}
        if self._bad is not None:
            return InputRow(index, None, kept, _not_utf8(self._bad))
        if len(fields) != len(self.header):
            return InputRow(index, None, kept, f"{len(fields)} fields where the header has {len(self.header)}")
        return self.selection.row(index, record, kept)


def _not_utf8(problem: UnicodeDecodeError) -> str:
    return f"not valid UTF-8: {problem.reason} at byte {problem.start}"

"""A parquet output, written as finished parts that are merged at the end.

A parquet file is readable only once it is closed, so each block of rows becomes a small file of its own in
"<output>.parts"; a run that is killed continues after the last of them.
"""

import math
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxcls.rows.errors import RowsError
from jaxcls.rows.files import DirectoryLock, sync_directory, sync_file
from jaxcls.rows.json_values import to_cell
from jaxcls.rows.parquet_reader import pa, pq
from jaxcls.rows.record import FlatFormat, OutputRow
from jaxcls.rows.results import Field
from jaxcls.rows.sinks import FileSink, changed_columns

_ROW_GROUP = 2**16
"""Rows of a row group of the merged file, or fewer: it is cut off at so many bytes, which bounds memory."""
_ROW_GROUP_BYTES = 2**25


class ParquetSink(FileSink):
    """A .parquet file with the columns of a `FlatFormat`.

    Args:
        path: The file.
        columns: Columns passed on.
        types: Their arrow types; a column without one is a string.
    """

    block_rows = 5000
    block_seconds = 10.0

    def __init__(self, path: Path, columns: Sequence[str], types: Mapping[str, pa.DataType]) -> None:
        super().__init__(path)
        self._columns = columns
        self._types = types
        self._format: FlatFormat | None = None
        self._schema: pa.Schema | None = None
        self._parts = path.with_name(path.name + ".parts")
        try:
            self._parts.mkdir(exist_ok=True)
            self._lock = DirectoryLock(self._parts, path)
        except OSError as problem:
            raise RowsError(f"cannot write {path}: {problem.strerror}") from problem

    @property
    def is_empty(self) -> bool:
        return not self.path.exists() and not any(self._parts.iterdir())

    @property
    def is_started(self) -> bool:
        return self._schema is not None

    def recover(self) -> None:
        if self.path.exists():
            self._count(self.path)  # an earlier run got as far as merging
            return
        for part in sorted(self._parts.iterdir()):
            match = re.fullmatch(r"part-(\d{12})\.parquet", part.name)
            if match is None or int(match[1]) != self.rows:
                part.unlink()
                continue
            self._count(part)

    def _count(self, path: Path) -> None:
        with pq.ParquetFile(path) as file:
            self._schema = file.schema_arrow
            self.rows += file.metadata.num_rows
            for batch in file.iter_batches(columns=["error"]):
                self.errors += batch.num_rows - batch.column(0).null_count

    def reset(self) -> None:
        self.path.unlink(missing_ok=True)
        for part in self._parts.iterdir():
            part.unlink()

    def start(self, fields: Sequence[Field]) -> None:
        self._format = FlatFormat(self._columns, fields)
        names = self._format.names
        if self._schema is not None and self._schema.names != list(names):
            raise changed_columns(self.path, self._schema.names, names)
        kept = zip(names[1:], self._columns, strict=False)
        columns = [pa.field("row", pa.int64(), nullable=False)]
        columns += [pa.field(new, self._types.get(name, pa.string())) for new, name in kept]
        for field in fields:
            kind = pa.float32() if field.is_number else pa.string()
            columns += [pa.field(name, kind) for name in field.columns]
        self._schema = pa.schema([*columns, pa.field("error", pa.string())])

    def _write(self, rows: Sequence[OutputRow]) -> None:
        assert self._format is not None
        assert self._schema is not None
        columns = zip(*map(self._format.values, rows), strict=True)
        arrays = [_array(values, field.type) for values, field in zip(columns, self._schema, strict=True)]
        part = self._parts / f"part-{self.rows:012d}.parquet"
        temporary = part.with_suffix(".tmp")
        pq.write_table(pa.Table.from_arrays(arrays, schema=self._schema), temporary)
        sync_file(temporary)
        temporary.replace(part)
        sync_directory(self._parts)

    def finish(self) -> None:
        if self.path.exists():
            return
        assert self._schema is not None
        temporary = self._parts / "merged.tmp"
        with pq.ParquetWriter(temporary, self._schema) as writer:
            for table in self._merged(self._schema):
                writer.write_table(table)
        sync_file(temporary)
        temporary.replace(self.path)
        sync_directory(self.path.parent)

    def _merged(self, schema: pa.Schema) -> Iterator[pa.Table]:
        """All rows of the parts, as tables of one row group each."""
        batches: list[pa.RecordBatch] = []
        for part in sorted(self._parts.glob("part-*.parquet")):
            with pq.ParquetFile(part) as file:
                batches += file.iter_batches()
            rows, size = (sum(column) for column in zip(*((b.num_rows, b.nbytes) for b in batches), strict=True))
            if rows >= _ROW_GROUP or size >= _ROW_GROUP_BYTES:
                yield pa.Table.from_batches(batches, schema)
                batches = []
        yield pa.Table.from_batches(batches, schema)

    def discard_leftovers(self) -> None:
        shutil.rmtree(self._parts)

    def close(self) -> None:
        self._lock.close()
        if self._parts.exists() and not any(self._parts.iterdir()):
            self._parts.rmdir()


def _array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    if isinstance(values[0], pa.Array):
        return pa.concat_arrays(values)
    if pa.types.is_floating(kind):
        values = [value if value is not None and math.isfinite(value) else None for value in values]
    if pa.types.is_string(kind):
        values = [None if value is None else to_cell(value) for value in values]
    return pa.array(values, type=kind)

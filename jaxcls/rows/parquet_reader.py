"""Parquet files of texts, read in record batches."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxcls.rows.columns import Column, InputRow, Selection
from jaxcls.rows.errors import RowsError
from jaxcls.rows.readers import Reader

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError as error:
    raise RowsError('parquet files need pyarrow: pip install "jaxcls[parquet]"') from error

_BATCH = 1024


class ParquetReader(Reader):
    """A .parquet file; columns of texts must be strings, columns of lists lists or their JSON.

    Args:
        arrow_values: Pass kept columns on as arrow arrays of one value, exact in every type, not as Python values.
    """

    def __init__(self, path: Path, selection: Selection, *, arrow_values: bool = False) -> None:
        super().__init__(path, selection)
        self._arrow_values = arrow_values
        with _open(path) as file:
            schema: pa.Schema = file.schema_arrow
            self._num_rows = max(file.metadata.num_rows, 1)
        self.columns = self._kept = selection.kept(schema.names, path)
        self.types: dict[str, pa.DataType] = {name: schema.field(name).type for name in self._kept}
        for column in selection.columns:
            _check_type(column, schema.field(column.name).type, path)
        self._read = 0

    @property
    def fraction(self) -> float:
        """How much of the file has been read, 0 to 1."""
        return self._read / self._num_rows

    def rows(self, skip: int = 0) -> Iterator[InputRow]:
        """The rows from number `skip` on."""
        with _open(self.path) as file:
            first_row, groups = _groups_from(file.metadata, skip)
            names = list(dict.fromkeys((*self.selection.names, *self._kept)))
            index = first_row
            for batch in file.iter_batches(batch_size=_BATCH, row_groups=groups, columns=names):
                start = max(skip - index, 0)
                index += batch.num_rows
                self._read = index
                if start < batch.num_rows:
                    yield from self._batch_rows(batch.slice(start), index - batch.num_rows + start)

    def _batch_rows(self, batch: pa.RecordBatch, first: int) -> Iterator[InputRow]:
        read = {name: _values(batch.column(name)) for name in self.selection.names}
        kept = {name: self._passed_on(batch.column(name), read.get(name)) for name in self._kept}
        for i in range(batch.num_rows):
            columns = {name: values[i] for name, values in kept.items()}
            record = {name: values[i] for name, values in read.items()}
            bad = next((value for value in record.values() if isinstance(value, UnicodeDecodeError)), None)
            if bad is not None:
                yield InputRow(first + i, None, columns, f"not valid UTF-8: {bad.reason} at byte {bad.start}")
            else:
                yield self.selection.row(first + i, record, columns)

    def _passed_on(self, column: pa.Array, read: list[Any] | None) -> list[Any]:
        if _is_text(column.type):
            values = _values(column) if read is None else read
            return [None if isinstance(value, UnicodeDecodeError) else value for value in values]
        if self._arrow_values:
            return [column.slice(i, 1) for i in range(len(column))]
        if pa.types.is_temporal(column.type) and not pa.types.is_duration(column.type):
            column = column.cast(pa.string())  # Python's datetime has no nanoseconds
        return column.to_pylist()


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except pa.ArrowInvalid as problem:
        raise RowsError(f"{path} is not a readable parquet file: {problem}") from problem


def _groups_from(metadata: pq.FileMetaData, skip: int) -> tuple[int, list[int]]:
    """First row of the row group that holds row `skip`, and the row groups from there on."""
    first = 0
    for group in range(metadata.num_row_groups):
        rows = metadata.row_group(group).num_rows
        if first + rows > skip:
            return first, list(range(group, metadata.num_row_groups))
        first += rows
    return first, []


def _check_type(column: Column, kind: pa.DataType, path: Path) -> None:
    nested = column.kind.nested and (pa.types.is_list(kind) or pa.types.is_large_list(kind))
    whole = column.kind.whole and pa.types.is_integer(kind)
    if not (nested or whole or _is_text(kind)):
        expected = "a list or string" if column.kind.nested else "string"
        raise RowsError(f"column {column.name!r} of {path} has type {kind}, not {expected}")


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _values(column: pa.Array) -> list[Any]:
    """Values as Python's; bytes that are not UTF-8 give the UnicodeDecodeError itself."""
    try:
        return column.to_pylist()
    except UnicodeDecodeError:
        return [_value(value) for value in column]


def _value(value: pa.Scalar) -> Any:
    try:
        return value.as_py()
    except UnicodeDecodeError as problem:
        return problem

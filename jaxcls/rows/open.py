"""The reader and the sink of a file, by its ending."""

from pathlib import Path

from jaxcls.rows.columns import Selection
from jaxcls.rows.errors import RowsError
from jaxcls.rows.readers import CsvReader, JsonLinesReader, Reader, TextReader
from jaxcls.rows.sinks import CsvSink, FileSink, JsonLinesSink

_READERS = {".txt": TextReader, ".jsonl": JsonLinesReader, ".csv": CsvReader}


def open_reader(path: Path, selection: Selection, output_suffix: str = ".jsonl") -> Reader:
    """Opens a .txt, .jsonl, .csv or .parquet file for rows that go to a file ending in `output_suffix`.

    Raises:
        RowsError: there is no such file, its ending is unknown, or it lacks a column.
    """
    if not path.is_file():
        raise RowsError(f"{path} is not a file")
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        from jaxcls.rows.parquet_reader import ParquetReader

        return ParquetReader(path, selection, arrow_values=output_suffix.lower() == ".parquet")
    if suffix not in _READERS:
        raise RowsError(f"cannot read {path}: its ending must be one of .txt, .jsonl, .csv, .parquet")
    return _READERS[suffix](path, selection)


def open_sink(path: Path, reader: Reader) -> FileSink:
    """Opens a .jsonl, .csv or .parquet file for the rows of `reader`, and locks it.

    Raises:
        RowsError: the ending is unknown, or another run is writing to the file.
    """
    suffix = path.suffix.lower()
    if not path.parent.is_dir():
        raise RowsError(f"cannot write {path}: there is no directory {path.parent}")
    if suffix == ".jsonl":
        return JsonLinesSink(path)
    columns = reader.selection.names if reader.columns is None else reader.columns
    if suffix == ".csv":
        return CsvSink(path, columns)
    if suffix == ".parquet":
        from jaxcls.rows.parquet_reader import ParquetReader
        from jaxcls.rows.parquet_sink import ParquetSink

        return ParquetSink(path, columns, reader.types if isinstance(reader, ParquetReader) else {})
    raise RowsError(f"cannot write {path}: its ending must be one of .jsonl, .csv, .parquet")

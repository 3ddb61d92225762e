"""Parquet in and out."""

import datetime
import decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jaxcls.rows import RowsError, open_reader, text_columns
from tests.cli.rows_helpers import read_rows, run_job, score


def write(path: Path, columns: dict[str, object], **options: int) -> Path:
    pq.write_table(pa.table(columns), path, **options)
    return path


@pytest.mark.parametrize("skip", [0, 1, 9, 10, 11, 25, 29, 30])
def test_skips_to_any_row(tmp_path: Path, skip: int) -> None:
    texts = [f"text {i}" for i in range(30)]
    path = write(tmp_path / "a.parquet", {"text": texts}, row_group_size=10)
    rows = list(open_reader(path, text_columns()).rows(skip))
    assert [(row.index, row.item) for row in rows] == list(enumerate(texts))[skip:]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_bad_rows(tmp_path: Path, kind: pa.DataType) -> None:
    path = write(tmp_path / "a.parquet", {"text": pa.array(["one", None, "two"], kind), "id": [1, 2, 3]})
    rows = list(open_reader(path, text_columns(keep=("id",))).rows())
    assert [(row.item, row.error) for row in rows] == [("one", None), (None, "column 'text' is null"), ("two", None)]
    assert [row.columns for row in rows] == [{"id": 1}, {"id": 2}, {"id": 3}]


def test_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    broken = pa.array([b"one", b"no \xff", b"two"], pa.binary()).view(pa.string())
    rows = list(open_reader(write(tmp_path / "a.parquet", {"text": broken}), text_columns()).rows())
    assert [row.item for row in rows] == ["one", None, "two"]
    assert rows[1].error == "not valid UTF-8: invalid start byte at byte 3"


def test_refuses_what_it_cannot_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", {"text": [1, 2], "body": ["a", "b"]})
    with pytest.raises(RowsError, match="has type int64, not string"):
        open_reader(path, text_columns())
    with pytest.raises(RowsError, match="no column 'nope'; its columns are 'text', 'body'"):
        open_reader(path, text_columns("nope"))
    (tmp_path / "b.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(RowsError, match="not a readable parquet file"):
        open_reader(tmp_path / "b.parquet", text_columns())


def test_types_pass_through_exactly(tmp_path: Path) -> None:
    columns = {
        "text": pa.array(["one", "two"], pa.large_string()),
        "nanoseconds": pa.array([1, 1_700_000_000_000_000_001], pa.timestamp("ns")),
        "price": pa.array([decimal.Decimal("1.10"), None], pa.decimal128(10, 2)),
        "vector": pa.array([[1.0, float("nan")], None], pa.list_(pa.float32())),
        "label": pa.array(["x", "y"]),
    }
    path = write(tmp_path / "a.parquet", columns)
    run_job(path, tmp_path / "out.parquet")
    result = pq.read_table(tmp_path / "out.parquet")
    assert result.schema.names[:6] == ["row", "text", "nanoseconds", "price", "vector", "input_label"]
    for name, values in columns.items():
        written = result["input_label" if name == "label" else name]
        assert written.type == values.type
        assert str(written.combine_chunks()) == str(values)  # as text: NaN does not equal itself
    assert result.schema.field("score").type == pa.float32()
    assert result["prob_bad"].to_pylist() == pytest.approx([score("one"), score("two")])


def test_types_become_text_in_json_and_csv(tmp_path: Path) -> None:
    columns = {
        "text": ["one"],
        "when": pa.array([1_700_000_000_000_000_001], pa.timestamp("ns")),
        "day": [datetime.date(2024, 2, 29)],
        "price": [decimal.Decimal("1.10")],
        "raw": [b"\x00\xff"],
        "vector": pa.array([[1.0, float("nan")]], pa.list_(pa.float32())),
    }
    path = write(tmp_path / "a.parquet", columns)
    run_job(path, tmp_path / "out.jsonl")
    (row,) = read_rows(tmp_path / "out.jsonl")
    assert row["when"] == "2023-11-14 22:13:20.000000001"
    assert (row["day"], row["price"], row["raw"], row["vector"]) == ("2024-02-29", "1.10", "AP8=", [1.0, None])
    run_job(path, tmp_path / "out.csv")
    (row,) = read_rows(tmp_path / "out.csv")
    assert (row["day"], row["raw"], row["vector"]) == ("2024-02-29", "AP8=", "[1.0, null]")


def test_json_values_are_strings_in_parquet(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "one", "id": 7, "tags": ["x"]}\n{"text": 5, "id": null}\n')
    run_job(tmp_path / "a.jsonl", tmp_path / "out.parquet", text_columns(keep=("id", "tags", "text")))
    first, second = read_rows(tmp_path / "out.parquet")
    assert (first["id"], first["tags"], first["text"], first["error"]) == ("7", '["x"]', "one", None)
    assert (second["id"], second["tags"], second["text"]) == (None, None, "5")
    assert second["error"] == "column 'text' is not text but int"
    assert second["score"] is None


def test_many_parts_become_one_file_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jaxcls.rows.parquet_sink._ROW_GROUP", 8000)
    texts = [f"text {i}" for i in range(25_000)]
    path = write(tmp_path / "a.parquet", {"text": texts})
    run_job(path, tmp_path / "out.parquet")
    result = pq.read_table(tmp_path / "out.parquet")
    assert result["row"].to_pylist() == list(range(25_000))
    assert pq.ParquetFile(tmp_path / "out.parquet").num_row_groups == 3
    assert result["text"].to_pylist() == texts
    assert not (tmp_path / "out.parquet.parts").exists()

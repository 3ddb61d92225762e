"""Readers: every row of a file once, in order, bad ones with their error."""

import csv
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxcls.rows import InputRow, RowsError, Selection, open_reader, text_columns
from jaxcls.rows import readers as readers_module


def read(path: Path, content: bytes, selection: Selection | None = None, skip: int = 0) -> list[InputRow]:
    path.write_bytes(content)
    return list(open_reader(path, selection or text_columns()).rows(skip))


def prompts_and_errors(rows: list[InputRow]) -> list[object]:
    assert [row.index for row in rows] == list(range(len(rows)))
    assert all((row.item is None) == (row.error is not None) for row in rows)
    return [row.item if row.error is None else row.error for row in rows]


def test_text_lines(tmp_path: Path) -> None:
    rows = read(tmp_path / "a.txt", b"\xef\xbb\xbfone\r\n\ncaf\xc3\xa9\nno \xff end\nlast")
    assert prompts_and_errors(rows) == ["one", "", "café", "not valid UTF-8: invalid start byte at byte 3", "last"]
    assert rows[3].columns == {"text": "no � end"}
    assert rows[4].columns == {"text": "last"}


def test_text_has_one_column(tmp_path: Path) -> None:
    with pytest.raises(RowsError, match="no column 'body'; its columns are 'text'"):
        read(tmp_path / "a.txt", b"one\n", text_columns("body"))


def test_json_lines(tmp_path: Path) -> None:
    lines = [
        b'{"text": "one", "id": 7}',
        b'{"text": null, "id": 8}',
        b'{"id": 9}',
        b'{"text": 3}',
        b'{"text": "cut',
        b"",
        b'["a"]',
        b'{"text": NaN}',
        b'{"text": "\\ud83d"}',
        b'{"text": "\xff"}',
        b'{"text": "\\ud83d\\ude00"}',
        b'{"text": "last"}',
    ]
    rows = read(tmp_path / "a.jsonl", b"\n".join(lines))
    assert prompts_and_errors(rows) == [
        "one",
        "column 'text' is null",
        "column 'text' is missing",
        "column 'text' is not text but int",
        "invalid JSON: Unterminated string starting at: line 1 column 10 (char 9)",
        "not a JSON object but list",
        "invalid JSON: NaN is not JSON",
        "invalid JSON: a string holds half of a surrogate pair",
        "not valid UTF-8: invalid start byte at byte 10",
        "😀",
        "last",
    ]
    assert rows[0].columns == {"text": "one", "id": 7}
    assert rows[1].columns == {"text": None, "id": 8}


def test_json_lines_nested_too_deeply_is_one_bad_row(tmp_path: Path) -> None:
    rows = read(tmp_path / "a.jsonl", b"[" * 200_000 + b'\n{"text": "good"}\n')
    assert prompts_and_errors(rows) == ["invalid JSON: nested too deeply", "good"]


def test_csv_with_line_breaks_and_quotes(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbfid,text\r\n1,"two\nlines, ""quoted"""\r\n2,plain\r\n\r\n3\r\n4,a,b\r\n'
    content += b'5,"bad \xff"\r\n6,"x"y\r\n7,end'
    rows = read(tmp_path / "a.csv", content)
    assert prompts_and_errors(rows) == [
        'two\nlines, "quoted"',
        "plain",
        "1 fields where the header has 2",
        "3 fields where the header has 2",
        "not valid UTF-8: invalid start byte at byte 7",
        "invalid csv: ',' expected after '\"'",
        "end",
    ]
    assert rows[0].columns == {"id": "1", "text": 'two\nlines, "quoted"'}
    assert rows[2].columns == {"id": "3"}


def test_csv_with_an_open_quote_ends_in_a_bad_row(tmp_path: Path) -> None:
    rows = read(tmp_path / "a.csv", b'text\nfine\n"open\nand more\n')
    assert prompts_and_errors(rows) == ["fine", "invalid csv: unexpected end of data"]


@pytest.mark.parametrize(("name", "content"), [("a.csv", b"id,body\n1,x\n"), ("a.jsonl", b'{"id": 1, "body": "x"}\n')])
def test_wrong_column_lists_the_columns(tmp_path: Path, name: str, content: bytes) -> None:
    with pytest.raises(RowsError, match="no column 'text'; its columns are 'id', 'body'"):
        read(tmp_path / name, content)
    with pytest.raises(RowsError, match="no column 'other'"):
        read(tmp_path / name, content, text_columns("body", pair_column="other"))


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is empty"), (b"text,text\n", "two columns of one name"), (b"te\xffxt\n", "header.*cannot be read")],
)
def test_csv_without_a_usable_header(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(RowsError, match=message):
        read(tmp_path / "a.csv", content)


def test_unknown_ending_and_missing_file(tmp_path: Path) -> None:
    with pytest.raises(RowsError, match=r"one of \.txt, \.jsonl, \.csv, \.parquet"):
        read(tmp_path / "a.xlsx", b"")
    with pytest.raises(RowsError, match="is not a file"):
        open_reader(tmp_path / "none.csv", text_columns())


def test_pairs_and_kept_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    content = b'{"q": "one", "d": "two", "id": 1}\n{"q": "one", "d": null}\n'
    rows = read(path, content, text_columns("q", "d", keep=("id",)))
    assert prompts_and_errors(rows) == [("one", "two"), "column 'd' is null"]
    assert [row.columns for row in rows] == [{"id": 1}, {"id": None}]
    assert [row.columns for row in read(path, content, text_columns("q", "d", keep="none"))] == [{}, {}]


def test_rows_longer_than_the_limit_are_bad_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers_module, "MAX_ROW_BYTES", 100)
    long = b"x" * 1000
    error = "the row is longer than 16 MiB"
    assert prompts_and_errors(read(tmp_path / "a.txt", long + b"\nok\n")) == [error, "ok"]
    assert prompts_and_errors(read(tmp_path / "a.jsonl", b'{"text": "%s"}\n{"text": "ok"}' % long)) == [error, "ok"]
    rows = prompts_and_errors(read(tmp_path / "a.csv", b'text\n"%s"\nok\n' % long))
    assert rows == [error, "ok"]
    many_lines = b"line\n" * 30
    rows = prompts_and_errors(read(tmp_path / "a.csv", b'text\n"%sok\n' % many_lines))
    assert rows[0] == "invalid csv: field larger than field limit (100)"
    assert rows[-1] == "ok"
    short_fields = b"a," * 100
    assert prompts_and_errors(read(tmp_path / "a.csv", b"text\n%s\nok\n" % short_fields)) == [error, "ok"]


@given(
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), max_size=20),
    skip=st.integers(0, 25),
)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, texts: list[str], skip: int) -> None:
    path = tmp_path_factory.mktemp("rows")
    with (path / "a.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, quoting=csv.QUOTE_ALL)
        writer.writerows([["text"], *([text] for text in texts)])
    (path / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    for name in ("a.csv", "a.jsonl"):
        rows = list(open_reader(path / name, text_columns()).rows(skip))
        assert [(row.index, row.item) for row in rows] == list(enumerate(texts))[skip:]

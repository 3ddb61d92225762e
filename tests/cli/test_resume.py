"""A run that ended at any point is continued: no row lost, none twice."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcls.outputs import ClassificationOutput, ClassificationRequestOutput
from jaxcls.rows import Progress, RowsError, Scorer, StoppedError, run, text_columns
from tests.cli.rows_helpers import TOO_LONG, classifier, classify, read_rows, run_job, text_job

FORMATS = ("jsonl", "csv", "parquet")
TEXTS = [
    "one",
    'say "two"',
    "line\nbreak, comma",
    "",
    TOO_LONG,
    "ünï 😀",
    '{"error": 1}',
    "{'row': 5}",
    "\r",
    " end ",
]


class PowerCut(Exception):
    """Ends a run in the middle."""


def source_of(path: Path, texts: list[str | None]) -> Path:
    path.write_text("".join(json.dumps({"text": text, "n": i}) + "\n" for i, text in enumerate(texts)))
    return path


def stopping_after(count: int) -> Scorer[ClassificationOutput]:
    def stopped(prompts: Iterator[Any]) -> Iterator[ClassificationRequestOutput]:
        for index, result in enumerate(classify(prompts)):
            if index == count:
                raise PowerCut
            yield result

    return classifier(stopped)


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_output_cut_at_every_byte_is_restored_exactly(tmp_path: Path, suffix: str) -> None:
    source = source_of(tmp_path / "in.jsonl", [*TEXTS, None])
    target = tmp_path / f"out.{suffix}"
    run_job(source, target, text_columns(keep=("text", "n")))
    whole = target.read_bytes()
    for size in range(len(whole)):
        target.write_bytes(whole[:size])
        summary = run_job(source, target, text_columns(keep=("text", "n")))
        assert target.read_bytes() == whole, size
        assert (summary.rows, summary.errors) == (len(TEXTS) + 1, 2)
        assert summary.before < summary.rows
        assert not summary.was_complete


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_blocks_that_never_reached_the_disk_are_written_again(tmp_path: Path, suffix: str) -> None:
    source = source_of(tmp_path / "in.jsonl", list(TEXTS))
    target = tmp_path / f"out.{suffix}"
    run_job(source, target)
    whole = target.read_bytes()
    for size in range(0, len(whole), 7):
        target.write_bytes(whole[:size] + bytes(len(whole) - size))
        run_job(source, target)
        assert target.read_bytes() == whole


@settings(max_examples=40, deadline=None)
@given(
    texts=st.lists(st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=8), max_size=40),
    stops=st.lists(st.integers(0, 25), max_size=4),
    suffix=st.sampled_from(FORMATS),
)
def test_any_failures_leave_the_same_output(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str | None], stops: list[int], suffix: str
) -> None:
    path = tmp_path_factory.mktemp("resume")
    source = source_of(path / "in.jsonl", texts)
    run_job(source, path / f"whole.{suffix}")
    target = path / f"out.{suffix}"
    for stop in stops:
        try:
            run(text_job(source, target), lambda stop=stop: stopping_after(stop), Progress())
        except PowerCut:
            assert not json.loads((path / f"out.{suffix}.progress.json").read_bytes())["complete"]
    summary = run_job(source, target)
    assert summary.rows == len(texts)
    assert summary.errors == texts.count(None)
    assert read_rows(target) == read_rows(path / f"whole.{suffix}")
    assert not target.with_name(target.name + ".parts").exists()


@pytest.mark.parametrize("suffix", FORMATS)
def test_what_was_computed_before_a_failure_is_kept(tmp_path: Path, suffix: str) -> None:
    source = source_of(tmp_path / "in.jsonl", [f"text {i}" for i in range(100)])
    target = tmp_path / f"out.{suffix}"
    with pytest.raises(PowerCut):
        run(text_job(source, target), lambda: stopping_after(30), Progress())
    given: list[Any] = []

    def counting(prompts: Iterator[Any]) -> Iterator[ClassificationRequestOutput]:
        given.extend(prompts)
        return classify(iter(given))

    summary = run(text_job(source, target), lambda: classifier(counting), Progress())
    assert (summary.before, summary.rows) == (30, 100)
    assert given == [f"text {i}" for i in range(30, 100)]


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_complete_output_needs_no_model(tmp_path: Path, suffix: str) -> None:
    source = source_of(tmp_path / "in.jsonl", ["one", None])
    target = tmp_path / f"out.{suffix}"
    run_job(source, target)
    before = target.read_bytes()
    summary = run(text_job(source, target), lambda: pytest.fail("the model was loaded"), Progress())
    assert summary.was_complete
    assert (summary.rows, summary.errors) == (2, 1)
    assert target.read_bytes() == before


@pytest.mark.parametrize("suffix", FORMATS)
def test_killed_between_the_last_row_and_the_completion(tmp_path: Path, suffix: str) -> None:
    source = source_of(tmp_path / "in.jsonl", ["one", "two"])
    target = tmp_path / f"out.{suffix}"
    run_job(source, target)
    sidecar = tmp_path / f"out.{suffix}.progress.json"
    sidecar.write_text(sidecar.read_text().replace('"complete": 2', '"complete": null'))
    summary = run(text_job(source, target), lambda: pytest.fail("the model was loaded"), Progress())
    assert (summary.before, summary.rows) == (2, 2)
    assert json.loads(sidecar.read_bytes())["complete"] == 2


def test_killed_while_parts_are_merged_or_removed(tmp_path: Path) -> None:
    source = source_of(tmp_path / "in.jsonl", [f"text {i}" for i in range(20)])
    target, parts = tmp_path / "out.parquet", tmp_path / "out.parquet.parts"
    with pytest.raises(PowerCut):
        run(text_job(source, target), lambda: stopping_after(12), Progress())
    (parts / "merged.tmp").write_bytes(b"half a file")
    (parts / "part-000000000012.tmp").write_bytes(b"half a part")
    (part,) = parts.glob("*.parquet")
    copy = part.read_bytes()
    run_job(source, target)
    whole = read_rows(target)
    assert [row["row"] for row in whole] == list(range(20))
    parts.mkdir()
    (parts / part.name).write_bytes(copy)
    assert run_job(source, target).was_complete
    assert read_rows(target) == whole
    assert not parts.exists()


@pytest.mark.parametrize("suffix", FORMATS)
def test_empty_input_gives_a_valid_empty_output(tmp_path: Path, suffix: str) -> None:
    source = source_of(tmp_path / "in.jsonl", [])
    target = tmp_path / f"out.{suffix}"
    assert run_job(source, target).rows == 0
    assert read_rows(target) == []
    assert run_job(source, target).was_complete


@pytest.mark.parametrize("suffix", FORMATS)
def test_another_run_is_refused_until_told_to_overwrite(tmp_path: Path, suffix: str) -> None:
    source = source_of(tmp_path / "in.jsonl", ["one", "two"])
    target = tmp_path / f"out.{suffix}"
    run_job(source, target)
    before = target.read_bytes()
    with pytest.raises(RowsError, match=r"differs in 'top_k'.*--overwrite.*another --output"):
        run_job(source, target, top_k=1)
    with pytest.raises(RowsError, match="differs in 'model'"):
        run_job(source, target, settings={"model": "other"})
    source_of(source, ["one", "TWO"])
    with pytest.raises(RowsError, match="differs in 'content of the input'"):
        run_job(source, target)
    assert target.read_bytes() == before
    run_job(source, target, overwrite=True)
    assert [row["text"] for row in read_rows(target)] == ["one", "TWO"]
    assert run_job(source, target).was_complete


def test_csv_fields_longer_than_its_module_takes(tmp_path: Path) -> None:
    """Rows with long documents are whole rows: they are not cut off and computed again."""
    before = csv.field_size_limit(131_072)
    try:
        source = source_of(tmp_path / "in.jsonl", ["x" * 200_000, "y"])
        run_job(source, tmp_path / "out.csv")
        assert run_job(source, tmp_path / "out.csv").was_complete
        assert csv.field_size_limit() == 131_072
    finally:
        csv.field_size_limit(before)


def test_a_touched_or_moved_input_is_the_same_run(tmp_path: Path) -> None:
    source = source_of(tmp_path / "in.jsonl", ["one", "two"])
    target = tmp_path / "out.jsonl"
    run_job(source, target)
    moved = source.rename(tmp_path / "moved.jsonl")
    moved.touch()
    assert run_job(moved, target).was_complete


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_of_somebody_else_is_not_touched(tmp_path: Path, suffix: str) -> None:
    source = source_of(tmp_path / "in.jsonl", ["one"])
    target = tmp_path / f"out.{suffix}"
    target.write_text("precious")
    with pytest.raises(RowsError, match="was not begun by this command"):
        run_job(source, target)
    assert target.read_text() == "precious"
    run_job(source, target, overwrite=True)
    assert [row["text"] for row in read_rows(target)] == ["one"]


@pytest.mark.parametrize("suffix", FORMATS)
def test_two_runs_do_not_share_an_output(tmp_path: Path, suffix: str) -> None:
    source = source_of(tmp_path / "in.jsonl", ["one", "two"])
    target = tmp_path / f"out.{suffix}"

    def nested(prompts: Iterator[Any]) -> Iterator[ClassificationRequestOutput]:
        with pytest.raises(RowsError, match="another run is writing"):
            run_job(source, target)
        return classify(prompts)

    assert run(text_job(source, target), lambda: classifier(nested), Progress()).rows == 2
    assert [row["row"] for row in read_rows(target)] == [0, 1]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_other_labels_are_refused(tmp_path: Path, suffix: str) -> None:
    source = source_of(tmp_path / "in.jsonl", ["one", "two"])
    target = tmp_path / f"out.{suffix}"
    with pytest.raises(PowerCut):
        run(text_job(source, target), lambda: stopping_after(1), Progress())
    with pytest.raises(RowsError, match=r"begun with the columns .*prob_good.*--overwrite"):
        run(text_job(source, target), lambda: classifier(labels=("x", "y", "z")), Progress())
    assert run_job(source, target).rows == 2


def test_stop_on_error_keeps_what_came_before(tmp_path: Path) -> None:
    source = source_of(tmp_path / "in.jsonl", ["one", "two", None, "three"])
    target = tmp_path / "out.jsonl"
    with pytest.raises(StoppedError, match="row 2: column 'text' is null"):
        run_job(source, target, stop_on_error=True)
    assert [row["row"] for row in read_rows(target)] == [0, 1]
    assert run_job(source, target).rows == 4


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("out.txt", r"one of \.jsonl, \.csv, \.parquet"),
        ("none/out.csv", "no directory"),
        ("in.jsonl", "the input itself"),
    ],
)
def test_outputs_that_cannot_be(tmp_path: Path, name: str, message: str) -> None:
    source = source_of(tmp_path / "in.jsonl", ["one"])
    with pytest.raises(RowsError, match=message):
        run_job(source, tmp_path / name)
    assert read_rows(source) == [{"text": "one", "n": 0}]


def test_a_broken_sidecar_is_refused(tmp_path: Path) -> None:
    source = source_of(tmp_path / "in.jsonl", ["one"])
    run_job(source, tmp_path / "out.jsonl")
    for content in ("{", "[]", "{}"):
        (tmp_path / "out.jsonl.progress.json").write_text(content)
        with pytest.raises(RowsError, match="cannot be read"):
            run_job(source, tmp_path / "out.jsonl")


def test_very_many_bad_rows_do_not_pile_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jaxcls.rows.job._PENDING", 16)
    texts = ["first", *[None] * 500, "last"]
    source = source_of(tmp_path / "in.jsonl", texts)
    calls: list[list[Any]] = []

    def recording(prompts: Iterator[Any]) -> Iterator[ClassificationRequestOutput]:
        calls.append(list(prompts))
        return classify(iter(calls[-1]))

    summary = run(text_job(source, tmp_path / "out.jsonl"), lambda: classifier(recording), Progress())
    assert (summary.rows, summary.errors) == (502, 500)
    assert len(calls) > 30
    assert [row["row"] for row in read_rows(tmp_path / "out.jsonl")] == list(range(502))


def test_a_model_that_loses_a_row_is_caught(tmp_path: Path) -> None:
    source = source_of(tmp_path / "in.jsonl", ["one", "two", "three"])

    def losing(prompts: Iterator[Any]) -> Iterator[ClassificationRequestOutput]:
        yield from list(classify(prompts))[:-1]

    with pytest.raises(RuntimeError, match="from row 2 on"):
        run(text_job(source, tmp_path / "out.jsonl"), lambda: classifier(losing), Progress())
    assert run_job(source, tmp_path / "out.jsonl").before == 2

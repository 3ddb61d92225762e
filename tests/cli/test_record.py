"""What an output row says."""

import json
import math
from pathlib import Path

import pytest

from jaxcls.cli.tasks import Choice, label_results
from jaxcls.outputs import ClassificationOutput, ClassificationRequestOutput
from jaxcls.rows import Field, InputRow, JsonFormat, RowsError, text_columns
from jaxcls.rows.json_values import to_cell, to_json
from jaxcls.rows.record import Renamer, scored
from tests.cli.rows_helpers import LABELS, TOO_LONG, output, read_rows, run_job, score

TEXT = "three"  # good .7395, so so .2465, bad .014


def one(choice: Choice, *, exclusive: bool = True) -> dict[str, object]:
    results = label_results(LABELS, choice)
    row = scored(InputRow(4, TEXT, {"id": 9}), output(0, TEXT, exclusive=exclusive), results)
    return json.loads(JsonFormat(results.fields).line(row))


def test_all_scores_best_first() -> None:
    first = score(TEXT)
    probs = {"bad": first, "good": (1 - first) * 0.75, "so so": (1 - first) * 0.25}
    best = max(probs, key=lambda name: probs[name])
    row = one(Choice())
    assert list(row) == ["row", "id", "label", "score", "probs"]
    assert (row["row"], row["id"], row["label"], row["score"]) == (4, 9, best, probs[best])
    assert row["probs"] == probs
    assert list(row["probs"]) == sorted(probs, key=lambda name: -probs[name])  # type: ignore[call-overload]


def test_top_k_threshold_and_logits() -> None:
    everything = one(Choice())
    best = everything["score"]
    assert isinstance(best, float)
    assert one(Choice(top_k=1))["probs"] == {everything["label"]: best}
    assert one(Choice(threshold=best))["label"] == everything["label"]
    below = one(Choice(threshold=best + 0.01))
    assert (below["label"], below["score"], below["probs"]) == (None, best, {})
    logits = one(Choice(top_k=1, logits=True))["logits"]
    assert isinstance(logits, dict)
    assert list(logits) == list(LABELS)
    assert logits == {name: 10 * p for name, p in everything["probs"].items()}  # type: ignore[union-attr]


def test_labels_that_do_not_exclude_each_other_have_no_winner() -> None:
    row = one(Choice(threshold=0.1), exclusive=False)
    assert (row["label"], row["score"]) == (None, None)
    assert row["probs"]


def test_a_single_score_is_the_score() -> None:
    scores = ClassificationOutput([0.25], [-1.1], False, ("relevant",))
    results = label_results(("relevant",), Choice())
    row = scored(InputRow(0, "x"), ClassificationRequestOutput("0", scores, [1, 2]), results)
    assert (row.record, row.tokens) == ({"label": None, "score": 0.25, "probs": {"relevant": 0.25}}, 2)


def test_values_that_are_not_finite_become_null() -> None:
    scores = ClassificationOutput([math.nan, 0.5], [math.inf, 0.5], True, ("a", "b"))
    results = label_results(("a", "b"), Choice(logits=True))
    row = scored(InputRow(0, "x", {"x": math.inf}), ClassificationRequestOutput("0", scores, [1]), results)
    line = JsonFormat(results.fields).line(row)
    record = json.loads(line, parse_constant=pytest.fail)
    assert record["probs"] == {"a": None, "b": 0.5}
    assert record["logits"] == {"a": None, "b": 0.5}
    assert record["x"] is None


def test_errors_are_one_line_and_name_no_stream_position(tmp_path: Path) -> None:
    row = scored(InputRow(7, TOO_LONG), output(3, TOO_LONG), label_results(LABELS, Choice()))
    assert row.error == "90 tokens, but the model takes 64"
    (tmp_path / "a.txt").write_text(f"one\n{TOO_LONG}\ntwo\n")
    summary = run_job(tmp_path / "a.txt", tmp_path / "out.jsonl")
    rows = read_rows(tmp_path / "out.jsonl")
    assert [row.get("error") for row in rows] == [None, "90 tokens, but the model takes 64", None]
    assert rows[1] == {"row": 1, "text": TOO_LONG, "error": "90 tokens, but the model takes 64"}
    assert (summary.rows, summary.errors) == (3, 1)


def test_flat_columns(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('id,label,text\n1,x,"a\nb"\n2,y\n')
    run_job(tmp_path / "a.csv", tmp_path / "out.csv", top_k=1, logits=True)
    first, second = read_rows(tmp_path / "out.csv")
    probs = [f"prob_{label}" for label in LABELS]
    logits = [f"logit_{label}" for label in LABELS]
    assert list(first) == ["row", "id", "input_label", "text", "label", "score", *probs, *logits, "error"]
    assert (first["input_label"], first["text"]) == ("x", "a\nb")
    assert sum(first[name] != "" for name in probs) == 1
    assert all(first[name] != "" for name in logits)
    assert first[f"prob_{first['label']}"] == first["score"]
    assert second["error"] == "2 fields where the header has 3"
    assert (second["id"], second["label"], second["score"]) == ("2", "", "")


def test_a_column_named_like_a_result_is_renamed() -> None:
    rename = Renamer(["label", "row"])
    assert rename({"a": 1, "label": 2, "input_row": 3, "row": 4}) == {
        "a": 1,
        "input_label": 2,
        "input_row": 3,
        "input_input_row": 4,
    }


def test_labels_of_one_name_are_refused() -> None:
    with pytest.raises(RowsError, match=r"several labels of one name \(a\)"):
        Field("probs", "probability", ("a", "b", "a"))


def test_cells() -> None:
    assert [to_cell(value) for value in (None, "a", 1, True, 1.5, ["é"], {"a": math.nan})] == [
        "", "a", "1", "true", "1.5", '["é"]', '{"a": null}'
    ]  # fmt: skip
    assert to_json("é") == '"é"'


def test_kept_columns_choices(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "one", "id": 7}\n')
    for keep, columns in (("all", ["text", "id"]), ("none", []), (("id",), ["id"])):
        target = tmp_path / f"{columns}.jsonl"
        run_job(tmp_path / "a.jsonl", target, text_columns(keep=keep))  # type: ignore[arg-type]
        assert list(read_rows(target)[0]) == ["row", *columns, "label", "score", "probs"]
    run_job(tmp_path / "a.jsonl", tmp_path / "out.csv")
    assert list(read_rows(tmp_path / "out.csv")[0])[:3] == ["row", "text", "label"]

"""`jaxcls classify`, `info` and `models`, with a real model."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from jaxcls import LLM
from jaxcls.cli.app import app
from jaxcls.errors import CheckpointError
from jaxcls.info import describe
from jaxcls.outputs import ClassificationRequestOutput
from jaxcls.registry import architecture_names
from kernels_cpu import library
from tests.api.test_words import write_language_model
from tests.cli.rows_helpers import read_rows

TEXTS = ["the cat sat on a mat", "a very sad dog", "happy", "", "not fast but slow under the blue tree"]
LONG = "cat " * 200


def jaxcls(*arguments: object, stdin: str | bytes | None = None) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)


def rows_of(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def expected(llm: LLM, prompts: list[Any]) -> list[ClassificationRequestOutput]:
    return llm.classify(prompts, use_tqdm=False)


def check_scores(row: dict[str, Any], output: ClassificationRequestOutput) -> None:
    assert output.outputs is not None
    assert row["label"] == output.outputs.label
    assert row["probs"] == pytest.approx({item.label: item.score for item in output.outputs.labels()}, abs=1e-6)
    assert row["score"] == pytest.approx(max(output.outputs.probs), abs=1e-6)


def test_texts_give_json_lines(bert: LLM, bert_path: Path) -> None:
    result = jaxcls("classify", "--model", bert_path, *TEXTS)
    assert result.exit_code == 0, result.stderr
    rows = rows_of(result)
    assert [row["text"] for row in rows] == TEXTS
    assert [row["row"] for row in rows] == list(range(len(TEXTS)))
    for row, output in zip(rows, expected(bert, TEXTS), strict=True):
        check_scores(row, output)
    assert result.stderr == ""


def test_standard_input(bert: LLM, bert_path: Path) -> None:
    result = jaxcls("classify", "-m", bert_path, "-", stdin="\n".join(TEXTS).encode() + b"\nno \xff\n")
    assert result.exit_code == 3
    *rows, bad = rows_of(result)
    for row, output in zip(rows, expected(bert, TEXTS), strict=True):
        check_scores(row, output)
    assert bad == {
        "row": len(TEXTS),
        "text": "no \ufffd",
        "error": "not valid UTF-8: invalid start byte at byte 3",
    }


def test_top_k_threshold_and_logits(bert: LLM, bert_path: Path) -> None:
    (output,) = expected(bert, TEXTS[:1])
    assert output.outputs is not None
    best, second, _ = output.outputs.labels()
    (row,) = rows_of(jaxcls("classify", "-m", bert_path, TEXTS[0], "--top-k", 2, "--logits"))
    assert list(row["probs"]) == [best.label, second.label]
    assert row["logits"] == pytest.approx(dict(zip(output.outputs.names, output.outputs.logits, strict=True)), abs=1e-5)
    (row,) = rows_of(jaxcls("classify", "-m", bert_path, TEXTS[0], "--threshold", (best.score + second.score) / 2))
    assert list(row["probs"]) == [best.label]
    (row,) = rows_of(jaxcls("classify", "-m", bert_path, TEXTS[0], "--threshold", 0.999))
    assert (row["label"], row["probs"]) == (None, {})


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_a_file_with_bad_rows(bert: LLM, bert_path: Path, tmp_path: Path, suffix: str) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / f"out.{suffix}"
    lines = [json.dumps({"id": i, "text": text}) for i, text in enumerate([*TEXTS, LONG, None])]
    source.write_text("\n".join([*lines[:2], "{broken", *lines[2:]]))
    arguments = ("classify", "-m", bert_path, "--input", source, "--output", target)
    result = jaxcls(*arguments, "--keep-columns", "id, text")
    assert result.exit_code == 3, result.stderr
    assert result.stdout == ""
    assert "8 rows (3 with an error) in" in result.stderr
    assert "rows/s" in result.stderr
    rows = read_rows(target)
    assert [row["row"] for row in rows] == list(range(8))
    errors = [row.get("error") for row in rows]
    assert [bool(error) for error in errors] == [False, False, True, False, False, False, True, True]
    assert errors[2].startswith("invalid JSON")
    assert errors[6].startswith("the prompt has 202 tokens, but the model takes at most 160")
    assert errors[7] == "column 'text' is null"
    good = [row for row in rows if not row.get("error")]
    for row, output in zip(good, expected(bert, TEXTS), strict=True):
        assert output.outputs is not None
        assert row["label"] == output.outputs.label
        assert float(row["score"]) == pytest.approx(max(output.outputs.probs), abs=1e-6)
        assert str(row["id"]) == str(TEXTS.index(row["text"]))
    again = jaxcls(*arguments, "--keep-columns", "id,text", "--allow-errors")
    assert again.exit_code == 0
    assert "already complete: 8 rows (3 with an error)" in again.stderr
    other = jaxcls(*arguments)
    assert other.exit_code == 2
    assert "error: the output was begun by a run that differs in 'keep'" in other.stderr
    assert jaxcls(*arguments, "--overwrite", "--truncate", -1).exit_code == 3
    assert [bool(row.get("error")) for row in read_rows(target)] == [i in (2, 7) for i in range(8)]


def test_a_file_to_standard_output(bert: LLM, bert_path: Path, tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text('first,second\nthe cat,"a\nmat"\nhappy,sad dog\n')
    arguments = ("classify", "-m", bert_path, "-i", source, "--column", "first", "--pair-column", "second")
    result = jaxcls(*arguments)
    assert result.exit_code == 0, result.stderr
    assert "2 rows in" in result.stderr
    outputs = expected(bert, [("the cat", "a\nmat"), ("happy", "sad dog")])
    for row, output in zip(rows_of(result), outputs, strict=True):
        check_scores(row, output)
    assert rows_of(result)[0]["second"] == "a\nmat"


def test_stop_at_the_first_bad_row(bert_path: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "in.txt", tmp_path / "out.jsonl"
    source.write_text(f"happy\n{LONG}\nsad\n")
    result = jaxcls("classify", "-m", bert_path, "-i", source, "-o", target, "--on-error", "stop")
    assert result.exit_code == 3
    assert result.stderr.startswith("error: row 1: the prompt has 202 tokens")
    assert [row["row"] for row in read_rows(target)] == [0]


def test_a_changed_checkpoint_does_not_continue_an_output(bert_path: Path, tmp_path: Path) -> None:
    model, source, target = tmp_path / "model", tmp_path / "in.txt", tmp_path / "out.jsonl"
    model.mkdir()
    for file in bert_path.iterdir():
        (model / file.name).write_bytes(file.read_bytes())
    source.write_text("happy\nsad\n")
    arguments = ("classify", "-m", model, "-i", source, "-o", target)
    assert jaxcls(*arguments).exit_code == 0
    target.write_bytes(target.read_bytes().splitlines(keepends=True)[0])
    whole = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**whole, "id2label": {"0": "a", "1": "b", "2": "c"}}))
    result = jaxcls(*arguments)
    assert result.exit_code == 2
    assert "the files of the model are not those that the output was begun with" in result.stderr
    (model / "config.json").write_text(json.dumps(whole))
    assert jaxcls(*arguments).exit_code == 0
    assert [row["row"] for row in read_rows(target)] == [0, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either TEXT... or --input"),
        (["a", "--input", "b.txt"], "give either TEXT... or --input"),
        (["a", "-"], "cannot be mixed"),
        (["a", "--output", "b.jsonl"], "--output needs --input"),
        (["a", "--pair-column", "b"], "--pair-column needs --input"),
        (["a", "--overwrite"], "--overwrite needs --output"),
        (["a", "--hf-overrides", "{"], "not JSON"),
        (["a", "--pooler-config", "[1]"], "not a JSON object"),
        (["a", "--top-k", "0"], "Invalid value for '--top-k'"),
        (["a", "--on-error", "explode"], "Invalid value for '--on-error'"),
        (["--input", "there-is-no.csv"], "is not a file"),
    ],
)
def test_wrong_usage(arguments: list[str], message: str) -> None:
    result = jaxcls("classify", *arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.replace("│", " ").split())


def test_a_wrong_column_lists_the_columns(bert_path: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("id,body\n1,happy\n")
    result = jaxcls("classify", "-m", bert_path, "-i", tmp_path / "in.csv", "-o", tmp_path / "out.csv")
    assert result.exit_code == 2
    assert result.stderr == f"error: {tmp_path / 'in.csv'} has no column 'text'; its columns are 'id', 'body'\n"
    assert not (tmp_path / "out.csv").exists()


def test_errors_are_one_line(tmp_path: Path, bert_path: Path) -> None:
    result = jaxcls("classify", "-m", tmp_path / "nothing", "happy")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: there is no directory")
    assert result.stderr.count("\n") == 1
    result = jaxcls("classify", "-m", bert_path, "happy", "--max-model-len", 5000)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: max_model_len = 5000")
    shown = jaxcls("classify", "-m", bert_path, "happy", "--max-model-len", 5000, "--traceback")
    assert "max_model_len = 5000" in str(shown.exception)


def test_options_reach_the_model(bert_path: Path) -> None:
    arguments = ("classify", "-m", bert_path, "the cat sat")
    (row,) = rows_of(jaxcls(*arguments, "--hf-overrides", '{"problem_type": "multi_label_classification"}'))
    assert (row["label"], row["score"]) == (None, None)
    (plain,) = rows_of(jaxcls(*arguments))
    (moved,) = rows_of(jaxcls(*arguments, "--pooler-config", '{"pooling_type": "MEAN"}'))
    assert moved["probs"] != pytest.approx(plain["probs"], abs=1e-4)
    result = jaxcls("classify", "-m", bert_path, "the cat sat", "--max-model-len", 4)
    assert "takes at most 4" in rows_of(result)[0]["error"]


def test_info_says_what_would_be_loaded(bert_path: Path, bert: LLM) -> None:
    result = jaxcls("info", bert_path)
    assert result.exit_code == 0, result.stderr
    (info,) = rows_of(result)
    arrays = [size for name, size in info["weight_files"].items() if name == "model.safetensors"]
    assert arrays == [(bert_path / "model.safetensors").stat().st_size]
    assert info["architecture"] == "BertForSequenceClassification"
    assert info["labels"] == ["negative", "neutral", "positive"]
    assert (info["pooling"], info["activation"], info["max_len"]) == ("CLS", "softmax", 160)
    assert (info["dtype"], info["backend"], info["problems"]) == ("float32", "cpu", None)
    assert "float32" in info["kernels"] or library().reason in info["kernels"]
    assert info["memory_bytes"] == 4 * info["parameters"]
    assert info["buckets"] == [f"{b.rows} x {b.row_len}" for b in bert.model.ladder.buckets]
    (other,) = rows_of(jaxcls("info", bert_path, "--dtype", "bfloat16", "--pooler-config", '{"pooling_type": "MEAN"}'))
    assert other["dtype"] == "bfloat16"
    assert other["memory_bytes"] < info["memory_bytes"]
    assert (other["pooling"], other["pooling_reason"]) == ("MEAN", "pooler_config")


def test_info_finds_weights_that_do_not_fit(bert_path: Path, tmp_path: Path) -> None:
    result = jaxcls("info", bert_path, "--hf-overrides", '{"num_hidden_layers": 3}')
    assert result.exit_code == 1
    assert "missing from the checkpoint" in rows_of(result)[0]["problems"]
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((bert_path / name).read_bytes())
    (info,) = rows_of(jaxcls("info", tmp_path))
    assert (info["weight_files"], info["problems"]) == ({}, None)
    assert info["parameters"] > 0


@pytest.mark.usefixtures("no_network")
def test_info_of_a_hub_model_needs_no_weights(bert_path: Path, tmp_path: Path) -> None:
    repository = tmp_path / "models--org--name"
    snapshot = repository / "snapshots" / ("0123456789" * 4)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(snapshot.name)
    for name in ("config.json", "tokenizer.json"):
        (snapshot / name).write_bytes((bert_path / name).read_bytes())
    info = describe("org/name", download_dir=tmp_path, local_files_only=True)
    assert (info.model, info.commit, info.weight_files) == ("org/name", snapshot.name, {})
    with pytest.raises(CheckpointError):
        LLM("org/name", download_dir=tmp_path, local_files_only=True)


def test_info_reads_no_tensor(bert_path: Path, tmp_path: Path) -> None:
    for file in bert_path.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = (tmp_path / "model.safetensors").read_bytes()
    header = 8 + int.from_bytes(weights[:8], "little")
    (tmp_path / "model.safetensors").write_bytes(weights[:header] + b"\xff" * (len(weights) - header))
    assert jaxcls("info", tmp_path).exit_code == 0
    refused = jaxcls("classify", "-m", tmp_path, "happy")
    assert refused.exit_code == 1
    assert "not finite" in refused.stderr


def test_convert(bert: LLM, bert_path: Path, tmp_path: Path) -> None:
    result = jaxcls(
        "convert", bert_path, tmp_path / "out", "--hf-overrides", '{"id2label": {"0": "a", "1": "b", "2": "c"}}'
    )
    assert result.exit_code == 0, result.stderr
    assert "converted" in result.stderr
    (row,) = rows_of(jaxcls("classify", "-m", tmp_path / "out", TEXTS[0]))
    (output,) = expected(bert, TEXTS[:1])
    assert output.outputs is not None
    assert [row["probs"][name] for name in "abc"] == pytest.approx(output.outputs.probs, abs=1e-6)
    (info,) = rows_of(jaxcls("info", tmp_path / "out"))
    assert (list(info["weight_files"]), info["weight_dtypes"]) == (["jaxcls_weights"], ["float32"])
    assert info["problems"] is None
    other = jaxcls("info", tmp_path / "out", "--dtype", "bfloat16")
    assert other.exit_code == 1
    assert "converted to dtype='float32'" in rows_of(other)[0]["problems"]
    again = jaxcls("convert", bert_path, tmp_path / "out")
    assert again.exit_code == 1
    assert "is not an empty directory" in again.stderr


def test_words_of_a_language_model(tmp_path: Path) -> None:
    """Classified as it is loaded, inspected, and converted to an ordinary checkpoint: the same scores."""
    path = write_language_model(tmp_path / "lm", tied=False)
    words = ("--labels", '{"good": "happy", "bad": "sad"}')
    (loaded,) = rows_of(jaxcls("classify", "-m", path, *words, "--prompt-template", "very {text}", TEXTS[0]))
    assert set(loaded["probs"]) == {"good", "bad"}
    (info,) = rows_of(jaxcls("info", path, *words))
    assert info["head"].endswith("no_post_processing (labels, 'happy', 'sad')")
    result = jaxcls("convert", path, tmp_path / "out", *words, "--format", "transformers")
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "out" / "model.safetensors").is_file()
    (plain,) = rows_of(jaxcls("classify", "-m", tmp_path / "out", f"very {TEXTS[0]}"))
    assert plain["probs"] == pytest.approx(loaded["probs"], abs=1e-6)
    refused = jaxcls("classify", "-m", path, TEXTS[0])
    assert refused.exit_code == 1
    assert "no classification head" in refused.stderr


def test_int8_weights(bert_path: Path, tmp_path: Path) -> None:
    quantised = ("--quantization", "int8")
    (row,) = rows_of(jaxcls("classify", "-m", bert_path, *quantised, TEXTS[0]))
    (output,) = expected(LLM(bert_path, quantization="int8"), TEXTS[:1])
    assert output.outputs is not None
    assert list(row["probs"].values()) == pytest.approx(sorted(output.outputs.probs, reverse=True), abs=1e-6)
    (info,), (plain,) = (rows_of(jaxcls("info", bert_path, *options)) for options in (quantised, ()))
    assert (info["quantization"], info["dtype"], plain["quantization"]) == ("int8", "bfloat16", None)
    assert info["parameters"] == plain["parameters"]
    assert info["memory_bytes"] < plain["memory_bytes"] / 2
    assert jaxcls("convert", bert_path, tmp_path / "out", *quantised).exit_code == 0
    (again,) = rows_of(jaxcls("classify", "-m", tmp_path / "out", *quantised, TEXTS[0]))
    assert again["probs"] == row["probs"]
    refused = jaxcls("classify", "-m", bert_path, "--quantization", "awq", TEXTS[0])
    assert refused.exit_code == 1
    assert "quantization='awq'" in refused.stderr


def test_models_lists_the_registry() -> None:
    rows = rows_of(jaxcls("models"))
    assert sorted(row["architecture"] for row in rows) == architecture_names()
    assert all(row["models"] and row["example"] for row in rows)


def test_version() -> None:
    assert jaxcls("--version").stdout.strip() == "0.1.0"


def test_the_format_can_be_said(bert_path: Path, tmp_path: Path) -> None:
    table = jaxcls("classify", "--model", bert_path, "--format", "table", "the cat")
    assert table.exit_code == 0
    assert "score" in table.stdout
    assert "{" not in table.stdout
    assert rows_of(jaxcls("classify", "-m", bert_path, "--format", "json", "the cat"))[0]["text"] == "the cat"
    rows = tmp_path / "rows.txt"
    rows.write_text("the cat\n")
    both = jaxcls("classify", "--format", "json", "--input", rows, "--output", tmp_path / "out.csv")
    assert both.exit_code == 2
    assert "that of its name" in both.stderr

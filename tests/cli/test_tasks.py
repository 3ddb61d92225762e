"""`jaxcls zero-shot`, `reward` and `tokens`, with real models; what they share with `classify` is tested there."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.resume_demo import run_and_kill, short_text
from jaxcls import LLM
from tests.api.test_reward import ONE, TEMPLATE
from tests.api.test_token_classify import NER
from tests.api.test_words import IDS, write_language_model
from tests.api.test_zero_shot import NLI
from tests.cli.rows_helpers import read_rows
from tests.cli.test_cli import LONG, jaxcls, rows_of
from tests.tiny import QWEN3, write_checkpoint

TEXTS = ["the cat sat on a mat", "a very sad dog", "happy"]
LABELS = ["red", "blue", "slow dog"]


@pytest.fixture(scope="module")
def nli(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("nli"), NLI)


@pytest.fixture(scope="module")
def ner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("ner"), NER)


@pytest.fixture(scope="module")
def rewarder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = write_checkpoint(tmp_path_factory.mktemp("rm"), {**QWEN3, **ONE})
    (path / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    return path


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("multi_label", [False, True])
def test_zero_shot(nli: Path, multi_label: bool) -> None:
    options = ("--labels", '"red", blue,slow dog', "--hypothesis-template", "the {}", *["--multi-label"] * multi_label)
    result = jaxcls("zero-shot", "-m", nli, *options, *TEXTS)
    assert result.exit_code == 0, result.stderr
    outputs = LLM(nli).zero_shot(TEXTS, LABELS, hypothesis_template="the {}", multi_label=multi_label, use_tqdm=False)
    for row, text, out in zip(rows_of(result), TEXTS, outputs, strict=True):
        assert out.outputs is not None
        assert list(row) == ["row", "text", "label", "score", "probs"]
        assert (row["text"], row["label"]) == (text, out.outputs.label)
        assert list(row["probs"]) == out.outputs.labels
        assert list(row["probs"].values()) == pytest.approx(out.outputs.scores, abs=1e-6)
        assert row["score"] == row["probs"][row["label"]]


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_zero_shot_of_a_file(nli: Path, tmp_path: Path, suffix: str) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / f"out.{suffix}"
    write_jsonl(source, [{"text": TEXTS[0]}, {"text": None}, {"text": LONG}])
    arguments = ("zero-shot", "-m", nli, "--input", source, "--output", target)
    result = jaxcls(*arguments, "--labels", "red,blue")
    assert result.exit_code == 3, result.stderr
    rows = read_rows(target)
    assert [row.get("error") or None for row in rows] == [None, "column 'text' is null", None]
    if suffix != "jsonl":
        assert list(rows[0]) == ["row", "text", "label", "score", "prob_red", "prob_blue", "error"]
    (out,) = LLM(nli).zero_shot(TEXTS[0], ["red", "blue"], use_tqdm=False)
    assert out.outputs is not None
    assert (rows[0]["label"], float(rows[0]["score"])) == (
        out.outputs.label,
        pytest.approx(out.outputs.scores[0], abs=1e-6),
    )
    assert "already complete" in jaxcls(*arguments, "--labels", "red, blue").stderr
    for other, name in (
        (["--labels", "red,green"], "labels"),
        (["--labels", "red,blue", "--multi-label"], "multi_label"),
        (["--labels", "red,blue", "--hypothesis-template", "a {}"], "hypothesis_template"),
    ):
        refused = jaxcls(*arguments, *other)
        assert refused.exit_code == 2
        assert f"a run that differs in '{name}'" in refused.stderr
    classified = jaxcls("classify", *arguments[1:])
    assert "differs in 'task', 'labels', 'hypothesis_template', 'multi_label'" in classified.stderr


def conversation(answer: Any, role: str = "user") -> list[dict[str, Any]]:
    return [{"role": role, "content": "a red cat"}, {"role": "assistant", "content": answer}]


CONVERSATIONS = [conversation("very happy"), conversation("not sad"), conversation("so", role="system")]
REFUSED = "the chat template refuses this conversation: no system here"


def test_rewards_of_texts_and_answers(rewarder: Path, tmp_path: Path) -> None:
    llm = LLM(rewarder)
    texts = jaxcls("reward", "-m", rewarder, *TEXTS)
    assert texts.exit_code == 0, texts.stderr
    expected = [out.outputs.reward for out in llm.reward(TEXTS, use_tqdm=False) if out.outputs]
    assert [row["reward"] for row in rows_of(texts)] == pytest.approx(expected, abs=1e-5)
    source = tmp_path / "in.csv"
    source.write_text("prompt,answer\na red cat,very happy\na red cat,not sad\n")
    answers = jaxcls("reward", "-m", rewarder, "-i", source, "--column", "prompt", "--pair-column", "answer")
    assert answers.exit_code == 0, answers.stderr
    expected = [
        out.outputs.reward for out in llm.reward("a red cat", ["very happy", "not sad"], use_tqdm=False) if out.outputs
    ]
    assert [row["reward"] for row in rows_of(answers)] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("source_suffix", "suffix"), [("jsonl", "csv"), ("csv", "parquet"), ("parquet", "jsonl"), ("parquet", "parquet")]
)
def test_rewards_of_conversations(rewarder: Path, tmp_path: Path, source_suffix: str, suffix: str) -> None:
    """The column is a list, or its JSON where cells are text; a conversation that is refused is a bad row."""
    source, target = tmp_path / f"in.{source_suffix}", tmp_path / f"out.{suffix}"
    rows: list[dict[str, Any]] = [{"talk": talk} for talk in [*CONVERSATIONS, None]]
    if source_suffix == "jsonl":
        write_jsonl(source, rows)
    elif source_suffix == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), source)
    else:
        quoted = ['"' + json.dumps(row["talk"]).replace('"', '""') + '"' for row in rows]
        source.write_text("talk\n" + "\n".join(quoted) + "\n")
    result = jaxcls("reward", "-m", rewarder, "-i", source, "-o", target, "--messages-column", "talk")
    assert result.exit_code == 3, result.stderr
    written = read_rows(target)
    wrong = 'not a list of messages ({"role", "content"}) but NoneType' if source_suffix == "csv" else "null"
    assert [row.get("error") or None for row in written] == [None, None, REFUSED, f"column 'talk' is {wrong}"]
    expected = [out.outputs.reward for out in LLM(rewarder).reward(CONVERSATIONS[:2], use_tqdm=False) if out.outputs]
    assert [float(row["reward"]) for row in written[:2]] == pytest.approx(expected, abs=1e-5)
    talk = written[0]["talk"]
    assert (json.loads(talk) if isinstance(talk, str) else talk) == CONVERSATIONS[0]


def test_columns_that_hold_no_conversations(rewarder: Path, tmp_path: Path) -> None:
    values = ["[{", "[1]", [], {"role": "user"}, [{"role": "user"}]]
    source = write_jsonl(tmp_path / "in.jsonl", [{"talk": value} for value in values])
    arguments = ("reward", "-m", rewarder, "--messages-column", "talk", "-i")
    errors = [row["error"] for row in rows_of(jaxcls(*arguments, source))]
    what = "column 'talk' is not a list of messages"
    assert [error.startswith(what) for error in errors] == [True, True, True, True, False]
    assert "invalid JSON" in errors[0]
    assert errors[4].startswith("a message needs a 'role' and a 'content'")
    pq.write_table(pa.table({"talk": [1, 2]}), tmp_path / "in.parquet")
    refused = jaxcls(*arguments, tmp_path / "in.parquet")
    assert refused.exit_code == 2
    assert "has type int64, not a list or string" in refused.stderr


def test_rewards_of_steps(tmp_path: Path) -> None:
    path = write_language_model(tmp_path / "prm", tied=False)
    pooler = {"pooling_type": "STEP", "step_tag_id": IDS["and"], "returned_token_ids": [IDS["happy"], IDS["sad"]]}
    source = tmp_path / "in.txt"
    source.write_text("the cat and a dog sat and ran\nthe cat\n")
    options = ("-m", path, "--pooler-config", json.dumps(pooler), "-i", source)
    good, bad = rows_of(jaxcls("reward", *options))
    (out,) = LLM(path, pooler_config=pooler).reward("the cat and a dog sat and ran", use_tqdm=False)
    assert out.outputs is not None
    assert good["steps"] == pytest.approx(out.outputs.steps, abs=1e-6)
    assert bad["error"].startswith("no token of this prompt ends a step of reasoning")
    assert jaxcls("reward", *options, "-o", tmp_path / "out.csv").exit_code == 3
    assert json.loads(read_rows(tmp_path / "out.csv")[0]["steps"]) == pytest.approx(out.outputs.steps, abs=1e-6)


def test_rewards_of_several_classes(bert: LLM, bert_path: Path, tmp_path: Path) -> None:
    (row,) = rows_of(jaxcls("reward", "-m", bert_path, TEXTS[0]))
    (out,) = bert.reward(TEXTS[0], use_tqdm=False)
    assert out.outputs is not None
    assert list(row["rewards"]) == ["negative", "neutral", "positive"]
    assert list(row["rewards"].values()) == pytest.approx(out.outputs.data.tolist(), abs=1e-5)
    (tmp_path / "in.txt").write_text("happy\n")
    assert jaxcls("reward", "-m", bert_path, "-i", tmp_path / "in.txt", "-o", tmp_path / "out.csv").exit_code == 0
    names = ["reward_negative", "reward_neutral", "reward_positive"]
    assert list(read_rows(tmp_path / "out.csv")[0]) == ["row", "text", *names, "error"]


@pytest.mark.parametrize(("aggregation", "suffix"), [("none", "jsonl"), ("simple", "csv"), ("average", "parquet")])
def test_spans(ner: Path, tmp_path: Path, aggregation: str, suffix: str) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / f"out.{suffix}"
    write_jsonl(source, [{"body": text, "spans": 1} for text in [*TEXTS, LONG]])
    options = ("--column", "body", "--keep-columns", "spans", "--aggregation", aggregation)
    result = jaxcls("tokens", "-m", ner, "-i", source, "-o", target, *options)
    assert result.exit_code == 3, result.stderr
    *good, bad = read_rows(target)
    assert bad["error"].startswith("the prompt has 202 tokens")
    assert str(bad["input_spans"]) == "1"
    outputs = LLM(ner).token_classify(TEXTS, aggregation=aggregation, use_tqdm=False)  # type: ignore[arg-type]
    for row, text, out in zip(good, TEXTS, outputs, strict=True):
        assert out.outputs is not None
        spans = row["spans"] if suffix == "jsonl" else json.loads(row["spans"])
        assert [(s["start"], s["end"], s["label"], s["text"]) for s in spans] == [
            (s.start, s.end, s.label, text[s.start : s.end]) for s in out.outputs.spans
        ]
        assert [s["score"] for s in spans] == pytest.approx([s.score for s in out.outputs.spans], abs=1e-5)


def test_tables(ner: Path, nli: Path, rewarder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    shown = jaxcls("tokens", "-m", ner, "--format", "table", TEXTS[0], LONG).stdout
    assert "spans" in shown
    assert "%]" in shown
    assert "202 tokens" in shown
    shown = jaxcls("zero-shot", "-m", nli, "--labels", "red,blue", "--format", "table", TEXTS[0]).stdout
    assert "█" in shown
    assert "blue" in shown
    shown = jaxcls("reward", "-m", rewarder, "--format", "table", TEXTS[0]).stdout
    assert "reward" in shown
    assert "%" not in shown


def test_a_killed_run_continues(ner: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "in.txt", tmp_path / "out.csv"
    texts = [short_text(i) for i in range(2500)]
    source.write_text("".join(text + "\n" for text in texts))
    command = [sys.executable, "-m", "jaxcls.cli", "tokens", "-m", str(ner), "-i", str(source), "-o", str(target)]
    assert 0 < run_and_kill([*command, "--max-num-batched-tokens", "32"], target, delay=0.0) < len(texts)
    last = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "of them from before" in last.stderr
    rows = read_rows(target)
    assert [row["text"] for row in rows] == texts
    outputs = LLM(ner).token_classify(texts, use_tqdm=False)
    for row, out in zip(rows, outputs, strict=True):
        assert out.outputs is not None
        assert [s["start"] for s in json.loads(row["spans"])] == [s.start for s in out.outputs.spans]


def test_other_models_are_refused_and_nothing_is_begun(bert_path: Path, ner: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "in.txt", tmp_path / "out.jsonl"
    source.write_text("the cat\n")
    for command, model, message in (
        (("tokens",), bert_path, "was not trained to label tokens: spans of it would mean nothing. Use classify"),
        (("zero-shot", "--labels", "a,b"), bert_path, "zero_shot needs an NLI model, with a class called 'entailment'"),
        (("reward",), ner, "labels tokens and rewards nothing: use `jaxcls tokens`"),
        (("classify",), ner, "scores tokens, not texts: use LLM.token_classify (`jaxcls tokens`)"),
    ):
        result = jaxcls(*command, "-m", model, "-i", source, "-o", target)
        assert result.exit_code == 1
        assert message in result.stderr
        assert result.stderr.count("\n") == 1
    assert jaxcls("tokens", "-m", ner, "-i", source, "-o", target).exit_code == 0
    assert read_rows(target)[0]["text"] == "the cat"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tokens", "a"], "Missing option '--model'"),
        (["zero-shot", "-m", "demo", "a"], "Missing option '--labels'"),
        (["zero-shot", "-m", "demo", "--labels", "a,b"], "give either TEXT... or --input"),
        (["reward", "-m", "demo", "a", "--messages-column", "b"], "--messages-column needs --input"),
        (["reward", "-m", "demo", "-i", "b", "--messages-column", "b", "--pair-column", "c"], "holds all"),
        (["tokens", "-m", "demo", "a", "--aggregation", "words"], "Invalid value for '--aggregation'"),
        (["zero-shot", "-m", "demo", "--labels", "a,a", "x"], "labels must be different"),
        (["zero-shot", "-m", "demo", "--labels", "a,b", "--hypothesis-template", "x", "y"], "has no {}"),
    ],
)
def test_wrong_usage(arguments: list[str], message: str) -> None:
    result = jaxcls(*arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.replace("│", " ").split())

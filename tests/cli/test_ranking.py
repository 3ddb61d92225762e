"""`jaxcls score`, `rerank` and `evaluate`, with real models; what they share with `classify` is tested there."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.resume_demo import run_and_kill
from jaxcls import LLM
from jaxcls.metrics import ndcg, reciprocal_rank
from tests.cli.rows_helpers import read_rows
from tests.cli.test_cli import jaxcls, rows_of
from tests.cli.test_tasks import write_jsonl
from tests.tiny import BERT, write_checkpoint

QUERY, DOCUMENTS = "the cat", ["a dog ran", "the cat sat on a mat", "blue"]
ROWS: list[dict[str, Any]] = [
    {"query": QUERY, "documents": DOCUMENTS, "relevances": [0, 2, 1]},
    {
        "query": "a dog",
        "documents": [{"text": "red"}, "a dog"],
        "relevances": [0, 1],
        "query_id": 8,
        "document_ids": "de",
    },
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("reranker"), {**BERT, "id2label": {"0": "relevance"}})


@pytest.fixture(scope="module")
def llm(model: Path) -> LLM:
    return LLM(model)


def expected(llm: LLM, query: str, documents: Any, **options: Any) -> list[dict[str, Any]]:
    results = llm.rerank(query, documents, use_tqdm=False, **options)
    return [{"index": r.index, "score": pytest.approx(r.score, abs=1e-6), "document": r.document} for r in results]


def test_arguments(model: Path, llm: LLM) -> None:
    result = jaxcls("score", "-m", model, "--logits", QUERY, *DOCUMENTS)
    assert result.exit_code == 0, result.stderr
    for row, document, out in zip(rows_of(result), DOCUMENTS, llm.score(QUERY, DOCUMENTS, use_tqdm=False), strict=True):
        assert out.outputs is not None
        assert list(row) == ["row", "query", "document", "score", "logit"]
        assert (row["query"], row["document"]) == (QUERY, document)
        assert row["score"] == pytest.approx(out.outputs.score, abs=1e-6)
        assert row["logit"] == pytest.approx(out.outputs.logit, abs=1e-5)
    [row] = rows_of(jaxcls("rerank", "-m", model, "--top-n", 2, QUERY, *DOCUMENTS))
    assert row == {"row": 0, "query": QUERY, "results": expected(llm, QUERY, DOCUMENTS, top_n=2)}
    [row] = rows_of(jaxcls("rerank", "-m", model, "--no-documents", "--score-threshold", 0.5, QUERY, *DOCUMENTS))
    assert all(list(rank) == ["index", "score"] and rank["score"] >= 0.5 for rank in row["results"])
    table = jaxcls("rerank", "-m", model, "--format", "table", QUERY, *DOCUMENTS)
    best = llm.rerank(QUERY, DOCUMENTS, use_tqdm=False)[0]
    assert f"{best.score:.4f}  {best.document}" in table.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rerank", QUERY], "there is a query and no document"),
        (["score"], "give either QUERY DOCUMENT... or --input"),
        (["rerank", QUERY, "blue", "--documents-column", "x"], "--documents-column needs --input"),
        (["score", "--instruction", "find", QUERY, "blue"], "instruction: this model joins a query and a document as"),
        (["score", "--label", "good", QUERY, "blue"], "unknown label 'good'"),
        (["score", "--chat-template", "nowhere", QUERY, "blue"], "no file, and no built-in template"),
    ],
)
def test_misuse(model: Path, arguments: list[str], message: str) -> None:
    command, *rest = arguments
    result = jaxcls(command, "-m", model, *rest)
    assert result.exit_code in (1, 2)
    assert message in " ".join(result.stderr.replace("│", " ").split())


def test_a_template_decides_the_results(model: Path, llm: LLM, tmp_path: Path) -> None:
    template = tmp_path / "template.jinja"
    template.write_text("{{ messages[0].content }} very {{ messages[1].content }}")
    source = write_jsonl(tmp_path / "pairs.jsonl", [{"query": QUERY, "document": d} for d in DOCUMENTS])
    files = ("-i", source, "-o", tmp_path / "out.jsonl", "--chat-template", template)
    assert jaxcls("score", "-m", model, *files).exit_code == 0
    outputs = llm.score(QUERY, DOCUMENTS, chat_template=template, use_tqdm=False)
    scores = [row["score"] for row in read_rows(tmp_path / "out.jsonl")]
    assert scores == pytest.approx([out.outputs.score for out in outputs if out.outputs], abs=1e-6)
    template.write_text("{{ messages[1].content }} {{ messages[0].content }}")
    changed = jaxcls("score", "-m", model, *files)
    assert changed.exit_code == 2
    assert "differs in 'chat_template'" in changed.stderr


def test_files_of_every_kind(model: Path, llm: LLM, tmp_path: Path) -> None:
    rankings = [expected(llm, row["query"], row["documents"]) for row in ROWS]
    source = write_jsonl(tmp_path / "in.jsonl", ROWS)
    for name in ("out.jsonl", "out.csv", "out.parquet"):
        keep = ("--keep-columns", "query,documents,relevances")
        result = jaxcls("rerank", "-m", model, "-i", source, "-o", tmp_path / name, *keep)
        assert result.exit_code == 0, result.stderr
    assert [row["results"] for row in read_rows(tmp_path / "out.jsonl")] == rankings
    for name in ("out.csv", "out.parquet"):
        assert [json.loads(row["results"]) for row in read_rows(tmp_path / name)] == rankings
    lists = [[text if isinstance(text, str) else text["text"] for text in row["documents"]] for row in ROWS]
    table = pa.table({"question": [row["query"] for row in ROWS], "passages": lists})
    pq.write_table(table, tmp_path / "in.parquet")
    columns = ("--query-column", "question", "--documents-column", "passages")
    from_parquet = rows_of(jaxcls("rerank", "-m", model, "-i", tmp_path / "in.parquet", *columns))
    assert [row["results"] for row in from_parquet] == rankings
    # What was written is read again, whatever its kind.
    for name in ("out.jsonl", "out.csv", "out.parquet"):
        judged = jaxcls("evaluate", tmp_path / name, "--relevances-column", "relevances", "--k", 1, "--k", 3)
        assert judged.exit_code == 0, judged.stderr
        gains = [
            [row["relevances"][rank["index"]] for rank in rank_list]
            for row, rank_list in zip(ROWS, rankings, strict=True)
        ]
        found = json.loads(judged.stdout)
        for k in (1, 3):
            by_hand = [ndcg(gain, row["relevances"], k) for gain, row in zip(gains, ROWS, strict=True)]
            assert found[f"ndcg@{k}"] == pytest.approx(sum(by_hand) / 2)
            assert found[f"mrr@{k}"] == pytest.approx(sum(reciprocal_rank(gain, k) for gain in gains) / 2)


def test_judgements_in_a_file(model: Path, llm: LLM, tmp_path: Path) -> None:
    names = ({"query_id": 7, "document_ids": ["a", "b", "c"]}, {"query_id": 8, "document_ids": ["d", "e"]})
    rows = [{**row, **ids} for row, ids in zip(ROWS, names, strict=True)]
    source, target = write_jsonl(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl"
    assert jaxcls("rerank", "-m", model, "-i", source, "-o", target).exit_code == 0
    qrels = tmp_path / "qrels"
    # A relevant document that was not there to be ranked makes the best order better.
    qrels.write_text("7 0 b 2\n7 0 c 1\n\n8 0 e 1\n8 0 elsewhere 3\n")
    found = json.loads(jaxcls("evaluate", target, "--qrels", qrels).stdout)
    relevances = [{"b": 2, "c": 1}, {"e": 1, "elsewhere": 3}]
    by_hand = []
    for row, known in zip(rows, relevances, strict=True):
        order = [row["document_ids"][r.index] for r in llm.rerank(row["query"], row["documents"], use_tqdm=False)]
        by_hand.append(ndcg([known.get(name, 0) for name in order], list(known.values()), 10))
    assert found == {"queries": 2, "bad": 0, "ndcg@10": pytest.approx(sum(by_hand) / 2), "mrr@10": found["mrr@10"]}
    assert "ndcg@10" in jaxcls("evaluate", target, "--qrels", qrels, "--format", "table").stdout
    qrels.write_text("7 b 2\n")
    wrong = jaxcls("evaluate", target, "--qrels", qrels)
    assert wrong.exit_code == 2
    assert "line 1: not a judgement but '7 b 2'" in wrong.stderr
    assert "give either" in jaxcls("evaluate", target).stderr
    target.write_text('{"results": [{"index": 0, "score": 1.0}], "relevances": [NaN]}\n')
    assert json.loads(jaxcls("evaluate", target, "--relevances-column", "relevances").stdout)["bad"] == 1


def test_bad_rows_stand_in_their_place(model: Path, tmp_path: Path) -> None:
    bad = [{"query": "a", "documents": []}, {"query": None, "documents": ["a"]}, {"query": "a", "documents": "blue"}]
    source, target = write_jsonl(tmp_path / "in.jsonl", [ROWS[0], *bad]), tmp_path / "out.jsonl"
    result = jaxcls("rerank", "-m", model, "-i", source, "-o", target)
    assert result.exit_code == 3
    errors = [row.get("error") for row in read_rows(target)]
    assert errors[:3] == [None, "there is nothing to score: the list is empty", "column 'query' is null"]
    assert str(errors[3]).startswith("column 'documents' is not a list of texts")
    judged = jaxcls("evaluate", target, "--relevances-column", "relevances")
    assert judged.exit_code == 3
    assert json.loads(judged.stdout)["bad"] == 3
    assert "3 rows have no ranking and count as 0" in judged.stderr


def test_a_killed_run_continues(model: Path, llm: LLM, tmp_path: Path) -> None:
    rows = [{"query": f"the cat {'a ' * (i % 7)}", "documents": [*DOCUMENTS, "a " * (i % 5)]} for i in range(1500)]
    source, target = write_jsonl(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl"
    command = [sys.executable, "-m", "jaxcls.cli", "rerank", "-m", str(model), "-i", str(source), "-o", str(target)]
    run_and_kill([*command, "--max-num-batched-tokens", "64"], target)
    assert 0 < len(read_rows(target)) < 1500
    subprocess.run(command, check=True)
    found = read_rows(target)
    assert [row["row"] for row in found] == list(range(1500))
    assert found[1200]["results"] == expected(llm, rows[1200]["query"], rows[1200]["documents"])


def test_what_would_count_twice_does_not_count(tmp_path: Path) -> None:
    ranking = [{"index": 0, "score": 0.9}, {"index": 1, "score": 0.8}]
    qrels = tmp_path / "qrels"
    qrels.write_text("7 0 a 1\n")
    twice = [
        ({"results": ranking, "query_id": 7, "document_ids": ["a", "a"]}, "document 'a' is there twice"),
        ({"results": [ranking[0]] * 2, "query_id": 7, "document_ids": ["a", "b"]}, "a document is ranked twice"),
    ]
    for row, message in twice:
        judged = jaxcls("evaluate", write_jsonl(tmp_path / "ranked.jsonl", [row]), "--qrels", qrels)
        assert judged.exit_code == 3
        assert message in judged.stderr
        assert json.loads(judged.stdout)["ndcg@10"] == 0


def test_ids_of_parquet_may_be_whole_numbers(tmp_path: Path) -> None:
    results = json.dumps([{"index": 0, "score": 0.9}])
    table = pa.table({"results": [results], "query_id": [7], "document_ids": [[1, 2]]})
    pq.write_table(table, tmp_path / "ranked.parquet")
    (tmp_path / "qrels").write_text("7 0 1 1\n")
    judged = jaxcls("evaluate", tmp_path / "ranked.parquet", "--qrels", tmp_path / "qrels")
    assert judged.exit_code == 0, judged.stderr
    assert json.loads(judged.stdout)["ndcg@10"] == 1

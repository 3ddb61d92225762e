"""What is measured, in which order, and what is not measured again."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks import results
from benchmarks.peers.table import PEERS, applies, why_not
from benchmarks.plan import Plan, check, first_item, limits
from benchmarks.results import Key

ONE: dict[str, Any] = {"id2label": {"0": "score"}}
TWO: dict[str, Any] = {"id2label": {"0": "no", "1": "yes"}}
PLAN = Plan(["minilm"], ["throughput"], ["fp32"], ["jaxcls", "vllm", "openvino"], ["W1", "W3"], 3)


def row(**changes: Any) -> dict[str, Any]:
    whole = {"kind": "measurement", "status": "ok", "mode": "throughput", "model": "minilm", "dtype": "fp32"}
    return whole | {"peer": "vllm", "workload": "W1", "round": 0} | changes


def test_all_peers_follow_each_other_from_another_one_every_round() -> None:
    orders = [[job.peer for job in PLAN.jobs("minilm", ONE, number)] for number in range(3)]
    assert orders == [
        ["jaxcls", "vllm", "openvino"],
        ["vllm", "openvino", "jaxcls"],
        ["openvino", "jaxcls", "vllm"],
    ]


def test_what_a_peer_cannot_do_is_refused_with_a_reason() -> None:
    jobs = {job.peer: job for job in PLAN.jobs("bert-base", TWO, 0)}
    assert jobs["vllm"].workloads == ("W1",)
    assert "one label" in jobs["vllm"].refused["W3"]
    assert jobs["jaxcls"].refused == {}


def test_every_peer_can_do_something() -> None:
    for peer in PEERS:
        reasons = [
            why_not(peer, config, PEERS[peer].dtypes[0], name) for config in (ONE, TWO) for name in ("W1", "W2", "W3")
        ]
        assert None in reasons, peer


def test_a_first_answer_is_to_a_text_where_that_is_possible() -> None:
    assert first_item("jaxcls", ONE, "fp32") == ("W1", None)
    assert first_item("sentence-transformers", TWO, "fp32") == ("W3", None)
    assert first_item("onnxruntime", TWO, "bf16")[1] is not None


def test_modes_that_say_nothing_new_are_left_out() -> None:
    assert applies("jaxcls", "cold-empty")
    assert not applies("openvino", "cold-empty")
    assert not applies("openvino-lean", "throughput")


def test_rows_that_are_there_are_not_measured_again() -> None:
    rows = [row(), row(workload="W3", status="failed"), {"kind": "machine"}]
    (job,) = [job for job in PLAN.jobs("minilm", ONE, 0) if job.peer == "vllm"]
    assert job.without(results.done(rows, retry_failed=False)).workloads == ()
    assert job.without(results.done(rows, retry_failed=True)).workloads == ("W3",)
    (later,) = [job for job in PLAN.jobs("minilm", ONE, 1) if job.peer == "vllm"]
    assert later.without(results.done(rows, retry_failed=False)).workloads == ("W1", "W3")


@pytest.mark.parametrize("field", Key._fields)
def test_every_field_of_the_key_counts(field: str) -> None:
    other = row(**{field: 1 if field == "round" else "other"})
    assert results.key(other) != results.key(row())


def test_rows_survive_the_file(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "results.jsonl"
    assert results.read(path) == []
    results.append(path, row())
    results.append(path, row(round=1))
    path.write_text(path.read_text() + '{"kind": "measure')  # the process was killed while it wrote
    assert results.read(path) == [row(), row(round=1)]
    results.append(path, row(round=2))
    assert results.read(path) == [row(), row(round=1), row(round=2)]


def test_limits() -> None:
    assert limits("minilm", ["W1", "W3"], None) == {"W1": 400, "W3": 60}
    assert limits("minilm", ["W1", "W2", "W3"], [1, 2, 3]) == {"W1": 1, "W2": 2, "W3": 3}


def test_unknown_names_are_refused() -> None:
    with pytest.raises(SystemExit, match="unknown peer 'onnx'"):
        check(["jaxcls", "onnx"], PEERS, "peer")

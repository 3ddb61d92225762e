"""What is made of a process that ends well, badly, or not at all; and what a peer is given."""

import argparse
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import child
from benchmarks.measure import settings_of
from benchmarks.peers.base import Settings, make_once
from benchmarks.peers.batched import Tokens, batches


def test_rows_of_a_process() -> None:
    outcome = child.run(sys.executable, "workloads", ["W1", "W2"], timeout=60)
    assert outcome.error is None
    assert [row["workload"] for row in outcome.rows] == ["W1", "W2"]


def test_a_process_that_fails_keeps_its_rows() -> None:
    outcome = child.run(sys.executable, "workloads", ["W1", "W9"], timeout=60)
    assert outcome.error == "exit 1: ValueError: unknown workload 'W9'; there are W1, W2, W3"
    assert [row["workload"] for row in outcome.rows] == ["W1"]


def test_a_process_that_does_not_end() -> None:
    outcome = child.run(sys.executable, "workloads", [], timeout=0.001)
    assert outcome.error == "took longer than 0.001 s"


def test_an_environment_that_is_missing(tmp_path: Path) -> None:
    interpreter = child.Environments(tmp_path, sys.executable).interpreter("vllm")
    assert "benchmarks/environments.py" in (child.run(interpreter, "workloads", [], timeout=60).error or "")
    assert child.Environments(None, sys.executable).interpreter("vllm") == sys.executable


@pytest.mark.parametrize(("mode", "streams"), [("throughput", 2), ("latency", 1), ("cold", 1)])
def test_streams_are_for_throughput(mode: str, streams: int, tmp_path: Path) -> None:
    given = {"mode": mode, "cache": tmp_path, "programs": None, "dtype": "fp32", "threads": 2}
    more = {"streams": None, "batch": None, "model": tmp_path / "minilm"}
    settings = settings_of(argparse.Namespace(peer="onnxruntime", **given, **more))
    assert (settings.streams, settings.batch, settings.threads) == (streams, 4, 2)


def test_a_lean_peer_uses_the_same_exports(tmp_path: Path) -> None:
    given = {"mode": "cold", "cache": tmp_path, "programs": tmp_path / "empty", "dtype": "fp32", "threads": 2}
    more = {"streams": None, "batch": 3, "model": tmp_path / "minilm"}
    settings = settings_of(argparse.Namespace(peer="openvino-lean", **given, **more))
    assert settings.exports == tmp_path / "exports" / "openvino" / "minilm"
    assert (settings.programs, settings.batch) == (tmp_path / "empty", 3)


def test_batches_go_from_long_to_short_and_are_padded_to_their_longest() -> None:
    here = Path()
    tokens = Tokens([[5], [6, 7, 8], [9, 10]], [[0], [0, 1, 1], [0, 0]])
    first, second = batches(tokens, Settings("onnxruntime", here, here, here, batch=2), 3, has_types=True)
    assert (first.indices, second.indices) == ([1, 2], [0])
    np.testing.assert_array_equal(first.arrays["input_ids"], [[6, 7, 8], [9, 10, 3]])
    np.testing.assert_array_equal(first.arrays["attention_mask"], [[1, 1, 1], [1, 1, 0]])
    np.testing.assert_array_equal(first.arrays["token_type_ids"], [[0, 1, 1], [0, 0, 0]])
    assert "token_type_ids" not in next(batches(tokens, Settings("onnxruntime", here, here, here), 3, False)).arrays


def test_batches_hold_no_more_tokens_than_they_may() -> None:
    here = Path()
    tokens = Tokens([[1] * 10] * 4, None)
    settings = Settings("onnxruntime", here, here, here, batch=4, batch_tokens=20)
    assert [batch.indices for batch in batches(tokens, settings, 0, False)] == [[0, 1], [2, 3]]


def test_what_an_interrupted_export_leaves_is_made_again(tmp_path: Path) -> None:
    calls: list[Path] = []

    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise KeyboardInterrupt

    def succeed(folder: Path) -> None:
        calls.append(folder)
        (folder / "whole").touch()

    target = tmp_path / "exports" / "model"
    with pytest.raises(KeyboardInterrupt):
        make_once(target, fail)
    assert not target.exists()
    make_once(target, succeed)
    make_once(target, succeed)
    assert [file.name for file in target.iterdir()] == ["whole"]
    assert len(calls) == 1

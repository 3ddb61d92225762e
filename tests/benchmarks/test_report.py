"""From rows to medians, ratios, tables and plots; rows.jsonl has peers that are missing, refused, failed and wrong."""

from pathlib import Path

import pytest

from benchmarks import results, tables
from benchmarks.plots import layout, longest_bar, plot
from benchmarks.report import blocks, marked, written
from benchmarks.summary import Cell, Matrix, matrix, share_of

ROWS = results.read(Path(__file__).parent / "rows.jsonl")
W1, W3 = ("minilm", "W1"), ("minilm", "W3")
DOCUMENT = "before\n<!-- bench throughput-fp32 -->\nold\n<!-- /bench -->\nafter\n"


def throughput() -> Matrix:
    return matrix(ROWS, "throughput", "fp32")


def test_median_and_range_of_the_rounds() -> None:
    assert throughput().cells["jaxcls", W1] == Cell(300, 290, 310)
    assert throughput().columns == [W1, W3]
    assert throughput().peers == ["jaxcls", "sentence-transformers", "onnxruntime", "openvino"]


def test_a_peer_with_wrong_scores_is_never_the_best() -> None:
    assert throughput().cells["onnxruntime", W3].wrong
    assert throughput().best_peer(W3) == "openvino"
    assert matrix(ROWS, "throughput", "bf16").cells["openvino", W1].wrong


def test_ratios_and_their_geometric_mean() -> None:
    assert throughput().ratio(W1) == pytest.approx(1.5)
    assert throughput().ratio(W3) == pytest.approx(1.0)
    assert throughput().mean_ratio() == pytest.approx(1.5**0.5)


def test_less_is_better_for_cold_starts() -> None:
    cold = matrix(ROWS, "cold", "fp32")
    assert cold.peers == ["jaxcls", "jaxcls, empty cache", "openvino"]
    assert cold.ratio(("minilm", "")) == pytest.approx(2.5 / 1.25)


def test_no_ratio_without_both() -> None:
    assert matrix(ROWS, "latency", "fp32").mean_ratio() is None
    assert matrix(ROWS, "throughput", "int8").columns == []


def test_memory_is_the_most_of_all_workloads() -> None:
    assert matrix(ROWS, "memory", "fp32").cells["jaxcls", ("minilm", "")] == Cell(420.5, 420, 421)


def test_share_of_the_ceiling() -> None:
    # 0.5e9 operations an item at 300 a second, of 210e9.
    assert share_of("ceiling", ROWS, W1, "fp32") == pytest.approx(150 / 210)
    assert share_of("ceiling", ROWS, W1, "bf16") is None


def test_tables_say_what_is_missing() -> None:
    text = tables.against_best(throughput(), ROWS, "fp32", ceiling=True)
    assert "| minilm | W1 | 300 (290 to 310) | openvino | 200 | 1.50 | 71% | 50% | 33% |" in text
    assert "Geometric mean of the ratios: **1.22**." in text
    everybody = tables.everybody(throughput())
    assert "| sentence-transformers | - | 21.0 (20.0 to 22.0) |" in everybody
    assert "~~900~~ wrong" in everybody


def test_accuracy_table() -> None:
    text = tables.agreement(ROWS, "fp32")
    assert "| minilm | jaxcls | 1e-07 | 100.00% of 20 |" in text
    assert "| minilm | onnxruntime | **5e+01**, wrong | 70.00% of 20 |" in text
    assert "| minilm | sentence-transformers | 1e-07 | - |" in text
    assert "**not finite**, wrong" in tables.agreement(ROWS, "bf16")


def test_refusals_and_failures_are_told_once() -> None:
    text = tables.refusals(ROWS)
    assert "| sentence-transformers | throughput fp32 | minilm W1, minilm W2 | takes pairs only |" in text
    assert text.count("| vllm | failed: throughput fp32 | qwen2-0.5b W1 | took longer than 1800 s |") == 1


def test_machine_and_commits() -> None:
    text = tables.machine(ROWS)
    assert text.count("Some CPU") == 1
    assert "jaxcls at abc9999+" in text
    assert "* fp32: 512x768x3072 210 (200 to 220)" in text


def test_only_what_is_between_the_markers_changes() -> None:
    texts, plots = blocks(ROWS, marked(DOCUMENT))
    new = written(DOCUMENT, texts)
    assert new.startswith("before\n<!-- bench throughput-fp32 -->\n![throughput, fp32](plots/throughput-fp32.svg)")
    assert new.endswith("<!-- /bench -->\nafter\n")
    assert "old" not in new
    assert written(new, texts) == new
    assert list(plots) == ["throughput-fp32"]


def test_blocks_without_rows_and_unknown_blocks() -> None:
    assert blocks(ROWS, ["cold-int8"]) == ({"cold-int8": "Not measured."}, {})
    for name in ("throughput-fp64", "speed-fp32", "machines"):
        with pytest.raises(SystemExit, match=name):
            blocks(ROWS, [name])
    with pytest.raises(SystemExit, match="no blocks"):
        marked("nothing here")


def test_panels() -> None:
    assert layout(throughput()) == [[W1, W3]]
    models = [("minilm", ""), ("bert-base", ""), ("xlmr-base", ""), ("qwen2-0.5b", "")]
    grid = layout(Matrix("MB", False, models, [], {}))
    assert grid == [models[:3], [models[3], None, None]]


def test_one_slow_peer_does_not_hide_the_others() -> None:
    assert longest_bar([1, 2, 3, 400], higher_is_better=False) == 5
    assert longest_bar([1, 2, 3, 400], higher_is_better=True) == 400
    assert longest_bar([1, 2, 3], higher_is_better=False) == 3


def test_the_same_numbers_give_the_same_picture(tmp_path: Path) -> None:
    for name in ("one.svg", "two.svg"):
        plot(throughput(), tmp_path / name)
    picture = (tmp_path / "one.svg").read_text()
    assert picture == (tmp_path / "two.svg").read_text()
    assert ">jaxcls</text>" in picture
    assert "<dc:date>" not in picture

"""Class names as config.json gives them."""

from typing import Any

import pytest

from jaxcls.config.hf import HfView
from jaxcls.config.labels import Labels, read_labels
from jaxcls.errors import ConfigError


def names(**values: Any) -> tuple[str, ...]:
    return read_labels(values, "config.json").names


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, ("LABEL_0", "LABEL_1")),
        ({"num_labels": 1}, ("LABEL_0",)),
        ({"num_labels": 3}, ("LABEL_0", "LABEL_1", "LABEL_2")),
        ({"num_labels": None, "id2label": None}, ("LABEL_0", "LABEL_1")),
        ({"id2label": {"0": "no", "1": "yes"}}, ("no", "yes")),
        ({"id2label": {0: "no", 1: "yes"}}, ("no", "yes")),
        ({"id2label": {1: "yes", "0": "no"}}, ("no", "yes")),
        ({"id2label": {"0": "only"}}, ("only",)),
        ({"id2label": {str(i): f"c{i}" for i in range(12)}}, tuple(f"c{i}" for i in range(12))),
        ({"id2label": {"0": 0, "1": 1}}, ("0", "1")),
        ({"id2label": {"0": "same", "1": "same"}}, ("same", "same")),
        ({"id2label": {"0": "no", "1": "yes"}, "num_labels": 2}, ("no", "yes")),
        ({"id2label": {"0": "no", "1": "yes"}, "label2id": {"no": 0, "yes": 1}}, ("no", "yes")),
        ({"id2label": {"0": "no", "1": "yes"}, "label2id": {"no": "0", "yes": "1"}}, ("no", "yes")),
        # What transformers' defaults leave beside real names contradicts nothing.
        ({"id2label": {"0": "no", "1": "yes"}, "label2id": {"LABEL_0": 0, "LABEL_1": 1}}, ("no", "yes")),
        ({"id2label": {"0": "no", "1": "yes"}, "label2id": {}}, ("no", "yes")),
    ],
    ids=str,
)
def test_names_in_the_order_of_the_logits(values: dict[str, Any], expected: tuple[str, ...]) -> None:
    assert names(**values) == expected


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"id2label": {"0": "a", "2": "c"}}, r"0\.\.1, got \[0, 2\]"),
        ({"id2label": {"1": "a", "2": "b"}}, r"0\.\.1, got \[1, 2\]"),
        ({"id2label": {"-1": "a", "0": "b"}}, r"0\.\.1, got \[-1, 0\]"),
        ({"id2label": {}}, "id2label"),
        ({"id2label": {"zero": "a"}}, "id2label must map class ids to names"),
        ({"id2label": ["a", "b"]}, "id2label must map class ids to names"),
        ({"id2label": {"0": "a", "1": "b"}, "num_labels": 3}, "num_labels = 3, but id2label names 2"),
        ({"id2label": {"0": "a", "1": "b"}, "label2id": {"a": 1, "b": 0}}, "contradict"),
        ({"id2label": {"0": "a", "1": "b"}, "label2id": {"a": 0, "c": 1}}, "'c': 1.*contradict"),
        ({"id2label": {"0": "a", "1": "b"}, "label2id": {"a": "first", "b": 1}}, "label2id"),
        ({"id2label": {"0": "a", "1": "b"}, "label2id": ["a", "b"]}, "label2id"),
        ({"num_labels": 0}, "num_labels = 0"),
        ({"num_labels": -2}, "num_labels = -2"),
        ({"num_labels": "3"}, "num_labels = '3'"),
        ({"num_labels": True}, "num_labels = True"),
        ({"num_labels": 2.0}, r"num_labels = 2\.0"),
    ],
    ids=str,
)
def test_contradictions_are_refused(values: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named) as info:
        names(**values)
    assert "config.json" in str(info.value)


@pytest.mark.parametrize(
    "problem_type", [None, "regression", "single_label_classification", "multi_label_classification"]
)
def test_problem_types(problem_type: str | None) -> None:
    assert read_labels({"problem_type": problem_type}, "c").problem_type == problem_type


@pytest.mark.parametrize("problem_type", ["multi_label", "Regression", "", 1])
def test_an_unknown_problem_type_lists_the_known_ones(problem_type: Any) -> None:
    with pytest.raises(ConfigError, match=r"problem_type = .*regression.*multi_label_classification"):
        read_labels({"problem_type": problem_type}, "c")


def test_index_finds_a_label_or_lists_them() -> None:
    labels = Labels(("no", "yes"))
    assert (labels.index("no"), labels.index("yes")) == (0, 1)
    with pytest.raises(ConfigError, match=r"'maybe'.*no, yes"):
        labels.index("maybe")


def test_the_view_counts_them() -> None:
    view = HfView({"id2label": {"0": "a", "1": "b", "2": "c"}})
    assert (view.num_labels, view.labels.names) == (3, ("a", "b", "c"))


@pytest.mark.parametrize(
    ("top", "inner", "expected"),
    [
        ({}, {"num_labels": 3}, ("LABEL_0", "LABEL_1", "LABEL_2")),
        ({"num_labels": 2}, {"id2label": {"0": "no", "1": "maybe", "2": "yes"}}, ("no", "maybe", "yes")),
        ({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}, {"num_labels": 1}, ("LABEL_0",)),
        ({"num_labels": 4}, {"num_labels": 3}, ("LABEL_0", "LABEL_1", "LABEL_2", "LABEL_3")),
        ({"id2label": {"0": "no", "1": "yes"}}, {"num_labels": 3}, ("no", "yes")),
        ({"num_labels": 2}, {"hidden_size": 8}, ("LABEL_0", "LABEL_1")),
    ],
)
def test_configs_of_several_parts(top: dict[str, Any], inner: dict[str, Any], expected: tuple[str, ...]) -> None:
    assert read_labels({**top, "text_config": inner}, "config.json").names == expected

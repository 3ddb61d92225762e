"""A wrong score is seen."""

import math

import pytest

from benchmarks.accuracy import accuracy, probabilities


def test_same_scores() -> None:
    found = accuracy([[0.0, 1.0], [2.0, 1.0]], [[0.0, 1.0], [2.0, 1.0]], "logits")
    assert found == {"error_max": 0.0, "score_range": 2.0, "decisions": 2, "agreement": 1.0}


def test_another_class_is_a_disagreement_unless_it_was_close() -> None:
    reference = [[0.0, 1.0], [1.0, 1.001], [3.0, 1.0]]
    found = accuracy([[1.0, 0.0], [1.001, 1.0], [3.0, 1.0]], reference, "logits")
    assert (found["decisions"], found["agreement"], found["error_max"]) == (2, 0.5, 1.0)


def test_one_class_is_judged_by_its_ranking() -> None:
    found = accuracy([[0.3], [0.2], [0.1]], [[0.1], [0.2], [0.205]], "logits")
    assert (found["decisions"], found["agreement"]) == (2, 0.0)


def test_probabilities_are_compared_with_probabilities() -> None:
    reference = [[0.5], [-2.0]]
    probs = [[1 / (1 + math.exp(-0.5))], [1 / (1 + math.exp(2.0))]]
    assert accuracy(probs, reference, "probs")["error_max"] == pytest.approx(0)
    assert probabilities([1.0, 1.0, 1.0]) == pytest.approx([1 / 3] * 3)


def test_scores_that_are_not_numbers() -> None:
    for bad in (math.nan, math.inf):
        assert accuracy([[0.1], [bad]], [[0.1], [0.2]], "logits")["error_max"] is None


def test_rows_that_are_missing() -> None:
    with pytest.raises(ValueError, match="1 rows of scores for 2 items"):
        accuracy([[0.1]], [[0.1], [0.2]], "logits")
    with pytest.raises(ValueError, match="width"):
        accuracy([[0.1], []], [[0.1], [0.2]], "logits")

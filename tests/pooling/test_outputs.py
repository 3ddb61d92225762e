"""What users read scores from."""

import json

import numpy as np
import pytest

from jaxcls.config.labels import Labels
from jaxcls.errors import JaxclsError
from jaxcls.outputs import ClassificationOutput, LabelScore, RequestOutput, classification_output

NAMES = ("negative", "neutral", "positive")


def output(
    probs: list[float], logits: list[float] | None = None, *, exclusive: bool = True, names: tuple[str, ...] = NAMES
) -> ClassificationOutput:
    return ClassificationOutput(probs, logits or probs, exclusive, names)


@pytest.mark.parametrize(
    ("logits", "label"), [([3, 1, 2], "negative"), ([1, 2, 2.5], "positive"), ([2, 2, 1], "negative")]
)
def test_the_label_is_the_highest_logit(logits: list[float], label: str) -> None:
    assert output([0.0, 0.0, 0.0], logits).label == label


def test_the_label_survives_probs_that_round_to_the_same() -> None:
    assert output([1.0, 1.0, 0.0], [80.0, 90.0, 0.0]).label == "neutral"


@pytest.mark.parametrize("names", [NAMES[:1], NAMES[:2], NAMES])
def test_there_is_no_label_where_classes_do_not_compete(names: tuple[str, ...]) -> None:
    """Multi-label, regression and one label: an argmax would look like an answer."""
    assert output([0.9, 0.8, 0.1][: len(names)], exclusive=False, names=names).label is None


def test_labels_come_best_first() -> None:
    scores = output([0.2, 0.1, 0.7]).labels()
    assert scores == [LabelScore("positive", 0.7), LabelScore("negative", 0.2), LabelScore("neutral", 0.1)]
    assert (scores[0].label, scores[0].score) == ("positive", 0.7)


def test_equal_scores_keep_the_order_of_the_classes() -> None:
    assert [s.label for s in output([0.25, 0.5, 0.25]).labels()] == ["neutral", "negative", "positive"]


@pytest.mark.parametrize(
    ("top_k", "threshold", "expected"),
    [
        (1, None, ["positive"]),
        (2, None, ["positive", "negative"]),
        (3, None, ["positive", "negative", "neutral"]),
        (9, None, ["positive", "negative", "neutral"]),
        (None, 0.2, ["positive", "negative"]),
        (None, 0.21, ["positive"]),
        (None, 0.0, ["positive", "negative", "neutral"]),
        (None, 0.71, []),
        (1, 0.2, ["positive"]),
        (2, 0.5, ["positive"]),
    ],
)
def test_top_k_and_threshold(top_k: int | None, threshold: float | None, expected: list[str]) -> None:
    assert [s.label for s in output([0.2, 0.1, 0.7]).labels(top_k=top_k, threshold=threshold)] == expected


def test_labels_rank_logits_where_those_were_asked_for() -> None:
    raw = output([-1.0, -3.0, -2.0], exclusive=False)
    assert [s.score for s in raw.labels()] == [-1.0, -2.0, -3.0]
    assert [s.label for s in raw.labels(threshold=-2.0)] == ["negative", "positive"]


@pytest.mark.parametrize("top_k", [0, -1])
def test_top_k_below_one_is_an_error(top_k: int) -> None:
    with pytest.raises(ValueError, match=f"top_k must be at least 1, got {top_k}"):
        output([0.2, 0.1, 0.7]).labels(top_k=top_k)


def test_rows_become_plain_python() -> None:
    probs, logits = np.array([0.25, 0.75], np.float32), np.array([1.0, 2.0], np.float32)
    made = classification_output(probs, logits, Labels(("no", "yes")), exclusive=True)
    assert (made.num_classes, made.label) == (2, "yes")
    assert json.loads(json.dumps([made.probs, made.logits])) == [[0.25, 0.75], [1.0, 2.0]]


@pytest.mark.parametrize("shape", [(3,), (1, 2), (1,), ()])
def test_rows_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(JaxclsError, match="2 labels, but scores of shape"):
        classification_output(np.zeros(shape), np.zeros(shape), Labels(("no", "yes")), exclusive=True)


def test_a_failed_request_has_no_scores() -> None:
    failed: RequestOutput[ClassificationOutput] = RequestOutput("3", None, [1, 2], ValueError("bad"))
    assert (failed.outputs, str(failed.error), failed.finished, failed.num_cached_tokens) == (None, "bad", True, 0)

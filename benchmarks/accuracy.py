"""How far a peer's scores are from the reference's: transformers with sdpa in float32."""

import itertools
import math
from collections.abc import Sequence

MARGIN = 1e-2  # decisions closer than this may differ

Scores = Sequence[Sequence[float]]


def accuracy(scores: Scores, reference: Scores, scores_are: str) -> dict[str, float | int | None]:
    """The largest difference and how many decisions agree.

    A decision is the best class; where there is one class only, it is which of two items is ahead. Decisions that the
    reference makes by less than MARGIN are not counted.

    Args:
        scores: what the peer gave, C an item.
        reference: the reference's logits.
        scores_are: "logits" or "probs"; the reference is brought to the same.

    Returns:
        error_max: the largest |score - reference|, None if a score is not finite; score_range: from the reference's
        least score to its greatest; decisions: how many were counted; agreement: the share of them that is the same,
        None without any.

    Raises:
        ValueError: not one row of C scores for every item.
    """
    if list(map(len, scores)) != list(map(len, reference)):
        raise ValueError(f"{len(scores)} rows of scores for {len(reference)} items, or rows of another width")
    expected = [probabilities(row) for row in reference] if scores_are == "probs" else reference
    flat, flat_expected = (list(itertools.chain.from_iterable(rows)) for rows in (scores, expected))
    errors = [abs(a - b) for a, b in zip(flat, flat_expected, strict=True)]
    agreements = _rankings(scores, expected) if len(expected[0]) == 1 else _choices(scores, expected)
    return {
        "error_max": max(errors) if all(map(math.isfinite, errors)) else None,
        "score_range": max(flat_expected) - min(flat_expected),
        "decisions": len(agreements),
        "agreement": sum(agreements) / len(agreements) if agreements else None,
    }


def probabilities(logits: Sequence[float]) -> list[float]:
    """Sigmoid of one logit, softmax of several."""
    if len(logits) == 1:
        return [1 / (1 + math.exp(-logits[0]))]
    powers = [math.exp(logit - max(logits)) for logit in logits]
    return [power / sum(powers) for power in powers]


def _choices(scores: Scores, reference: Scores) -> list[bool]:
    best = [max(range(len(row)), key=row.__getitem__) for row in reference]
    sure = [sorted(row)[-1] - sorted(row)[-2] > MARGIN for row in reference]
    return [row[at] == max(row) for row, at, counts in zip(scores, best, sure, strict=True) if counts]


def _rankings(scores: Scores, reference: Scores) -> list[bool]:
    pairs = itertools.combinations(zip((row[0] for row in reference), (row[0] for row in scores), strict=True), 2)
    return [(a > b) == (x > y) for (a, x), (b, y) in pairs if abs(a - b) > MARGIN]

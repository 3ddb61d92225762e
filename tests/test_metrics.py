"""Metrics of rankings against values computed by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxcls.metrics import ndcg, reciprocal_rank


def test_by_hand() -> None:
    gains = [3, 0, 2]
    dcg = 3 / math.log2(2) + 2 / math.log2(4)
    best = 3 / math.log2(2) + 2 / math.log2(3) + 1 / math.log2(4)
    assert ndcg(gains, [0, 1, 2, 3], 3) == pytest.approx(dcg / best)
    assert ndcg(gains, [0, 1, 2, 3], 1) == 1
    assert ndcg([0, 0], [0, 0], 5) == 0
    assert ndcg([-1, 1], [-1, 1], 2) == pytest.approx(1 / math.log2(3))
    assert reciprocal_rank([0, 0, 2, 1], 10) == pytest.approx(1 / 3)
    assert reciprocal_rank([0, 0, 2], 2) == 0


@given(st.lists(st.integers(0, 4), min_size=1, max_size=12), st.integers(1, 12), st.randoms())
def test_the_best_order_has_one_and_no_order_has_more(gains: list[int], k: int, rng: object) -> None:
    best = sorted(gains, reverse=True)
    assert ndcg(best, gains, k) == (1 if any(gains) else 0)
    rng.shuffle(best)  # type: ignore[attr-defined]
    assert 0 <= ndcg(best, gains, k) <= 1 + 1e-12

"""How good a ranking is, by the definitions of trec_eval (github.com/usnistgov/trec_eval)."""

import math
from collections.abc import Sequence


def ndcg(gains: Sequence[float], judged: Sequence[float], k: int) -> float:
    """nDCG@k: sum of gain / log2(rank + 1) over the first k, by that of the best order of all judged documents.

    Args:
        gains: relevances of the ranked documents, the best first; below 0 counts as 0.
        judged: relevances of all documents of the query.
        k: how many are looked at.

    Returns:
        0 ... 1; 0 if no document is relevant.
    """
    best = _dcg(sorted(judged, reverse=True), k)
    return _dcg(gains, k) / best if best > 0 else 0.0


def reciprocal_rank(gains: Sequence[float], k: int) -> float:
    """One by the rank of the first relevant document (relevance above 0) among the first k; 0 if there is none."""
    return next((1 / rank for rank, gain in enumerate(gains[:k], start=1) if gain > 0), 0.0)


def _dcg(gains: Sequence[float], k: int) -> float:
    return sum(max(gain, 0.0) / math.log2(rank + 1) for rank, gain in enumerate(gains[:k], start=1))

"""Workloads of fixed seed, made of text that ships with CPython (`pydoc_data.topics`).

    python -m benchmarks.workloads [W1 W2 W3]      prints a fingerprint of each

The texts depend on the Python minor version and on nothing else: two machines whose fingerprints agree measured the
same thing. Lengths are lognormal, in tokens of a trained WordPiece vocabulary:

    W1  1,000 short texts      median about 25 tokens, longest about 128
    W2    200 long texts       median about 250, cut at 512 by the tokenizer
    W3  1,000 pairs to rerank  20 queries x 50 passages, about 120 tokens a pair
"""

import functools
import hashlib
import json
import math
import random
import re
import sys
from collections.abc import Iterator, Sequence

Item = str | tuple[str, str]

WORKLOADS: tuple[str, ...] = ("W1", "W2", "W3")
PAIRS = frozenset({"W3"})
SEED = 20260
TOKENS_PER_WORD = 1.35  # of the tokenizers that benchmarks/models.py trains


def make(name: str, limit: int | None = None) -> list[Item]:
    """The items of a workload: texts (W1, W2) or pairs (query, passage) (W3).

    Args:
        name: one of WORKLOADS.
        limit: an even sample of so many items; None: all.

    Raises:
        ValueError: an unknown name.
    """
    rng = random.Random(SEED + sum(map(ord, name)))
    items: list[Item]
    if name == "W1":
        items = [_text(rng, _words(rng, median=25, sigma=0.6, low=4, high=124)) for _ in range(1000)]
    elif name == "W2":
        items = [_text(rng, _words(rng, median=250, sigma=0.5, low=32, high=600)) for _ in range(200)]
    elif name == "W3":
        queries = [_text(rng, rng.randint(4, 12)) for _ in range(20)]
        items = [
            (query, _text(rng, _words(rng, median=105, sigma=0.35, low=20, high=240)))
            for query in queries
            for _ in range(50)
        ]
    else:
        raise ValueError(f"unknown workload {name!r}; there are {', '.join(WORKLOADS)}")
    return items if limit is None else sample(items, limit)


def sample(items: Sequence[Item], size: int) -> list[Item]:
    """`size` items at even distances; all if there are fewer."""
    if size >= len(items):
        return list(items)
    step = len(items) / size
    return [items[int(i * step)] for i in range(size)]


def distinct(count: int) -> Iterator[str]:
    """Any number of different texts with the lengths of W1: its texts over and over, each with its number in front."""
    texts = make("W1")
    return (f"{number} {texts[number % len(texts)]}" for number in range(count))


def fingerprint(items: Sequence[Item]) -> str:
    """Sixteen hexadecimal digits that stand for the items."""
    return hashlib.sha256(json.dumps(items).encode()).hexdigest()[:16]


@functools.cache
def _corpus() -> tuple[str, ...]:
    from pydoc_data.topics import topics

    text = "\n".join(topics[key] for key in sorted(topics))
    text = re.sub(r"[*`_|\\]+", " ", text)
    return tuple(re.findall(r"[A-Za-z][A-Za-z'-]*[.,;:]?|[0-9]+", text))


def _text(rng: random.Random, num_words: int) -> str:
    words = _corpus()
    start = rng.randrange(len(words) - num_words)
    return " ".join(words[start : start + num_words])


def _words(rng: random.Random, *, median: float, sigma: float, low: int, high: int) -> int:
    tokens = min(high, max(low, rng.lognormvariate(math.log(median), sigma)))
    return max(1, round((tokens - 2) / TOKENS_PER_WORD))


def main() -> None:
    """Prints one JSON line a workload."""
    for name in sys.argv[1:] or WORKLOADS:
        items = make(name)
        words = sorted(len((item if isinstance(item, str) else " ".join(item)).split()) for item in items)
        row = {"workload": name, "items": len(items), "sha256": fingerprint(items), "words": sum(words)}
        print(json.dumps(row | {"words_median": words[len(words) // 2], "words_max": words[-1]}))


if __name__ == "__main__":
    main()

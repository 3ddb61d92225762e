"""The workloads are what they are, to the last letter."""

import itertools
import sys

import pytest

from benchmarks.workloads import distinct, fingerprint, make, sample

# pydoc_data.topics differs between Python minor versions, and the texts with it.
FINGERPRINTS = {(3, 11): {"W1": "08208b4b1842788a", "W2": "cb49ddbff1356bdf", "W3": "1c5307c15bbb96b7"}}
SIZES = {"W1": 1000, "W2": 200, "W3": 1000}


@pytest.mark.parametrize("name", SIZES)
def test_same_texts_every_time(name: str) -> None:
    items = make(name)
    assert len(items) == SIZES[name]
    assert items == make(name)
    expected = FINGERPRINTS.get(sys.version_info[:2])
    assert expected is None or fingerprint(items) == expected[name]


def test_fingerprint_changes_with_one_letter() -> None:
    assert fingerprint(["a", ("b", "c")]) != fingerprint(["a", ("b", "d")])


def test_pairs_are_queries_with_passages() -> None:
    pairs = make("W3")
    assert all(isinstance(item, tuple) for item in pairs)
    assert len({item[0] for item in pairs}) == 20


def test_sample_is_even_and_keeps_order() -> None:
    items = [str(i) for i in range(10)]
    assert sample(items, 5) == ["0", "2", "4", "6", "8"]
    assert sample(items, 11) == items
    assert make("W1", 3) == sample(make("W1"), 3)


def test_distinct_texts_differ() -> None:
    texts = list(itertools.islice(distinct(2500), 2500))
    assert len(texts) == len(set(texts)) == 2500


def test_unknown_workload() -> None:
    with pytest.raises(ValueError, match="W4"):
        make("W4")

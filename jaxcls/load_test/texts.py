"""Texts of mixed lengths, of a fixed seed."""

import math
import random
from collections.abc import Iterator, Sequence

_WORDS = (
    "a about after all and answer are as at back be been before best big book both buy by call came can case change "
    "city clear cold come could country day did different do door down each early end even every example eye far fast "
    "few find first follow food for found free friend from full gave get give go good great group grow half hand hard "
    "have he head help her here high home hour house how idea if in into is it just keep kind know large last later "
    "learn leave letter life light like line list little long look low made make man many may mean money month more "
    "most move much must name near need never new next night no not now number of off often old on one only open or "
    "order other our out over own page paper part pay people place plan play point power price quick quite reach read "
    "real right river road room rule run said same say school sea second see sentence service set she short show side "
    "simple small so some soon sound stand start state still stop story street strong study such sure system take talk "
    "tell than that the their them then there these they thing think this three time to together too took town travel "
    "tree true try turn two under until up us use very voice wait walk want was watch water way we week well went were "
    "what when where which while white who why will wind with without word work world would write year yet you young"
).split()
_SIGMA = 0.6  # a few texts are five times as long as most, as in traffic


def random_texts(seed: int, *, median_words: int, max_words: int) -> Iterator[str]:
    """Endless texts of common English words, whose lengths are lognormal.

    Args:
        seed: the same seed gives the same texts.
        median_words: half of the texts are shorter.
        max_words: longer ones are cut.
    """
    rng = random.Random(seed)
    while True:
        words = min(max_words, max(1, round(rng.lognormvariate(math.log(median_words), _SIGMA))))
        yield " ".join(rng.choices(_WORDS, k=words))


def shuffled(texts: Sequence[str], seed: int) -> Iterator[str]:
    """Given texts, endlessly: all of them in an order of the seed, then all again in another."""
    rng = random.Random(seed)
    while True:
        yield from rng.sample(texts, len(texts))

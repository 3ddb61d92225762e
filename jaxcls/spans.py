"""Scores of tokens -> labelled spans of the text, as transformers' token-classification pipeline forms them."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float

from jaxcls.outputs import Span

Aggregation = Literal["none", "simple", "first", "average", "max"]
AGGREGATIONS: tuple[Aggregation, ...] = ("none", "simple", "first", "average", "max")

Join = Callable[[list[str]], str]


@dataclasses.dataclass(frozen=True)
class Token:
    """One token that stands for text.

    Attributes:
        text: as the vocabulary has it.
        start: where it begins in the text, in characters; `end` where it ends.
        index: its position in the sequence.
        continues: whether it belongs to the word of the token before it.
        probs: scores of the classes.
    """

    text: str
    start: int
    end: int
    index: int
    continues: bool
    probs: Float[np.ndarray, " C"]


@dataclasses.dataclass(frozen=True)
class _Word:
    """What is given one label before spans are formed: a token, or a word of several."""

    label: str
    score: np.floating
    start: int
    end: int
    text: str


def spans(
    tokens: Sequence[Token], names: Sequence[str], aggregation: Aggregation, *, ignore: Sequence[str], join: Join
) -> list[Span]:
    """Labelled spans, in the order of the text.

    Args:
        tokens: those that stand for text, in order.
        names: of the classes.
        aggregation: "none": a span a token. Otherwise neighbours of one label are one span, where each token has its
            own label ("simple"), or all tokens of a word have that of the first, of the most certain ("max"), or of
            their average.
        ignore: labels that make no span.
        join: tokens of the vocabulary -> text.
    """
    if aggregation == "none":
        found = [(token, int(token.probs.argmax())) for token in tokens]
        kept = [(token, best) for token, best in found if names[best] not in ignore]
        return [Span(names[b], float(t.probs[b]), t.start, t.end, t.text, t.index) for t, b in kept]
    if aggregation == "simple":
        words = [_word([token], names, "first", lambda texts: texts[0]) for token in tokens]
    else:
        words = [_word(group, names, aggregation, join) for group in _groups(tokens)]
    return [span for span in _merge(words, join) if span.label not in ignore]


def _groups(tokens: Sequence[Token]) -> list[list[Token]]:
    """Tokens by the word they belong to."""
    groups: list[list[Token]] = []
    for token in tokens:
        if groups and token.continues:
            groups[-1].append(token)
        else:
            groups.append([token])
    return groups


def _word(tokens: Sequence[Token], names: Sequence[str], aggregation: Aggregation, join: Join) -> _Word:
    match aggregation:
        case "average":
            probs = np.stack([token.probs for token in tokens]).mean(axis=0)
        case "max":
            probs = max((token.probs for token in tokens), key=lambda row: row.max())
        case _:
            probs = tokens[0].probs
    best = int(probs.argmax())
    return _Word(names[best], probs[best], tokens[0].start, tokens[-1].end, join([token.text for token in tokens]))


def _merge(words: Sequence[_Word], join: Join) -> list[Span]:
    """Neighbours of the same class are one span, unless the later one says that it begins another."""
    groups: list[list[_Word]] = []
    for word in words:
        if groups and not word.label.startswith("B-") and _class(word.label) == _class(groups[-1][-1].label):
            groups[-1].append(word)
        else:
            groups.append([word])
    return [
        Span(
            group[0].label.split("-", 1)[-1],
            float(np.mean([word.score for word in group])),
            group[0].start,
            group[-1].end,
            join([word.text for word in group]),
        )
        for group in groups
    ]


def _class(label: str) -> str:
    return label[2:] if label.startswith(("B-", "I-")) else label

"""token_classify at the public surface; transformers' own spans are compared in tests/parity/test_pipelines.py."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxcls import LLM
from jaxcls.errors import ConfigError, PromptError
from jaxcls.outputs import Span
from jaxcls.spans import Token, spans
from tests.tiny import BERT, write_checkpoint

NER = {
    **BERT,
    "architectures": ["BertForTokenClassification"],
    "id2label": {"0": "O", "1": "B-X", "2": "I-X", "3": "Y"},
}


@pytest.fixture(scope="module")
def ner(tmp_path_factory: pytest.TempPathFactory) -> LLM:
    return LLM(write_checkpoint(tmp_path_factory.mktemp("ner"), NER))


def test_every_token_is_a_span_with_its_place(ner: LLM) -> None:
    text = "the  cat, sat"
    (out,) = ner.token_classify(text, ignore_labels=[], use_tqdm=False)
    (raw,) = ner.encode(text, pooling_task="token_classify", use_tqdm=False)
    assert out.outputs is not None
    assert raw.outputs is not None
    found = out.outputs.spans
    assert [text[s.start : s.end] for s in found] == ["the", "cat", ",", "sat"]
    rows = raw.outputs.data[[s.index for s in found]]
    assert [s.score for s in found] == pytest.approx(rows.max(axis=1).tolist())
    names = list(NER["id2label"].values())
    assert [s.label for s in found] == [names[i] for i in rows.argmax(axis=1)]


def token(word: str, start: int, index: int, label: int, score: float, *, continues: bool = False) -> Token:
    probs = np.full(4, (1 - score) / 3, np.float32)
    probs[label] = score
    return Token(word, start, start + len(word.removeprefix("##")), index, continues, probs)


# "Ann ##a went Ber ##lin Paris": a person of two pieces that disagree, two places beside each other.
TOKENS = [
    token("Ann", 0, 1, 1, 0.6),
    token("##a", 3, 2, 0, 0.9, continues=True),
    token("went", 5, 3, 0, 0.8),
    token("Ber", 10, 4, 3, 0.7),
    token("##lin", 13, 5, 3, 0.9, continues=True),
    token("Paris", 17, 6, 1, 0.8),
    token("Nord", 23, 7, 2, 0.6),
]


@pytest.mark.parametrize(
    ("aggregation", "expected"),
    [
        ("none", [("B-X", 0, 3), ("Y", 10, 13), ("Y", 13, 16), ("B-X", 17, 22), ("I-X", 23, 27)]),
        ("simple", [("X", 0, 3), ("Y", 10, 16), ("X", 17, 27)]),
        ("first", [("X", 0, 4), ("Y", 10, 16), ("X", 17, 27)]),
        ("max", [("Y", 10, 16), ("X", 17, 27)]),
        ("average", [("Y", 10, 16), ("X", 17, 27)]),
    ],
)
def test_aggregations(aggregation: Any, expected: list[tuple[str, int, int]]) -> None:
    found = spans(
        TOKENS, ["O", "B-X", "I-X", "Y"], aggregation, ignore=["O"], join=lambda t: "".join(t).replace("##", "")
    )
    assert [(s.label, s.start, s.end) for s in found] == expected
    if aggregation == "simple":
        assert found[1] == Span("Y", pytest.approx(0.8), 10, 16, "Berlin")


def test_a_head_for_texts_labels_no_tokens(bert: LLM, ner: LLM) -> None:
    with pytest.raises(ConfigError, match="not trained to label tokens"):
        bert.token_classify("the cat")
    with pytest.raises(ConfigError, match=r"scores tokens, not texts: use LLM\.token_classify"):
        ner.classify("the cat")
    with pytest.raises(ConfigError, match="scores tokens; pooling_type = 'MEAN' is not one"):
        LLM(ner.model.checkpoint.path, pooler_config={"pooling_type": "MEAN"})


def test_misuse(ner: LLM, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="aggregation must be one of none, simple"):
        ner.token_classify("the cat", aggregation="words")  # type: ignore[arg-type]
    with pytest.raises(PromptError, match="takes texts, one string each"):
        ner.token_classify([("the", "cat")])  # type: ignore[list-item]
    with pytest.raises(PromptError, match="at most 160"):
        ner.token_classify(["the " * 200])
    outputs = ner.token_classify(["the " * 200, "the cat"], on_error="return", use_tqdm=False)
    assert [out.error is None for out in outputs] == [False, True]
    (cut,) = ner.token_classify(
        ["the " * 200], tokenization_kwargs={"truncation": True}, ignore_labels=[], use_tqdm=False
    )
    assert cut.outputs is not None
    assert len(cut.outputs.spans) == 158
    multi = write_checkpoint(tmp_path / "multi", {**NER, "problem_type": "multi_label_classification"})
    with pytest.raises(ConfigError, match="do not compete"):
        LLM(multi).token_classify("the cat")

"""zero_shot at the public surface; its numbers are compared with transformers in tests/parity/test_pipelines.py."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxcls import LLM
from jaxcls.errors import ConfigError, PromptError
from tests.tiny import BERT, write_checkpoint

NLI = {**BERT, "id2label": {"0": "neutral", "1": "contradiction", "2": "entailment"}}


@pytest.fixture(scope="module")
def nli(tmp_path_factory: pytest.TempPathFactory) -> LLM:
    return LLM(write_checkpoint(tmp_path_factory.mktemp("nli"), NLI))


def test_one_softmax_over_the_labels(nli: LLM) -> None:
    texts, labels = ["the cat sat", "a happy dog"], ["red mat", "blue tree", "dog"]
    outputs = nli.zero_shot(texts, labels, hypothesis_template="the {}", use_tqdm=False)
    for text, out in zip(texts, outputs, strict=True):
        pairs = nli.classify([(text, f"the {label}") for label in labels], use_tqdm=False)
        entailment = np.array([pair.outputs.logits[2] for pair in pairs if pair.outputs])
        expected = np.exp(entailment) / np.exp(entailment).sum()
        assert out.outputs is not None
        assert dict(zip(out.outputs.labels, out.outputs.scores, strict=True)) == pytest.approx(
            dict(zip(labels, expected, strict=True)), abs=1e-6
        )
        assert out.outputs.label == labels[int(expected.argmax())]


def test_the_opposite_of_entailment_is_found_by_name(nli: LLM) -> None:
    """Class 0 is neutral here; transformers would compare with it."""
    (out,) = nli.zero_shot("the cat sat", "dog", use_tqdm=False)
    (pair,) = nli.classify(("the cat sat", "This example is dog."), use_tqdm=False)
    assert out.outputs is not None
    assert pair.outputs is not None
    _, contradiction, entailment = pair.outputs.logits
    assert out.outputs.scores == pytest.approx([1 / (1 + np.exp(contradiction - entailment))], abs=1e-6)


def test_labels_in_a_string(nli: LLM) -> None:
    (a,), (b,) = (nli.zero_shot("the cat", x, use_tqdm=False) for x in ("red, blue", ["red", "blue"]))
    assert a.outputs == b.outputs


def test_a_long_text_is_cut_and_its_label_is_not(nli: LLM) -> None:
    (out,) = nli.zero_shot("the cat " * 200, ["slow dog"], hypothesis_template="a very {}", use_tqdm=False)
    ids = out.prompt_token_ids
    assert len(ids) == 160
    (pair,) = nli.classify(("the", "a very slow dog"), use_tqdm=False)
    assert ids[-6:] == pair.prompt_token_ids[-6:]


def test_a_failing_text_fails_alone(nli: LLM) -> None:
    outputs = nli.zero_shot(["the cat", 3, "a dog"], ["red", "blue"], on_error="return", use_tqdm=False)  # type: ignore[list-item]
    assert [out.error is None for out in outputs] == [True, False, True]
    with pytest.raises(PromptError):
        nli.zero_shot(["the cat", 3], ["red"])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": []}, "at least one"),
        ({"labels": ["red", "red"]}, "must be different"),
        ({"labels": ["red"], "hypothesis_template": "nothing"}, "has no {}"),
        ({"labels": ["red"], "hypothesis_template": "{} and {}"}, "must have one {}"),
    ],
)
def test_misuse(nli: LLM, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        nli.zero_shot("the cat", **arguments)


def test_other_models_are_refused(bert: LLM, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"needs an NLI model.*negative, neutral, positive"):
        bert.zero_shot("the cat", ["red"])

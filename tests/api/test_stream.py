"""`LLM.stream`: any call over items of unknown number."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jaxcls import LLM
from jaxcls.classify import encode_call
from jaxcls.engine.pipeline import WINDOW
from jaxcls.errors import ConfigError, PromptError
from jaxcls.reward import reward_call
from jaxcls.token_classify import token_classify_call
from jaxcls.zero_shot import zero_shot_call
from tests.api.test_token_classify import NER
from tests.api.test_zero_shot import NLI
from tests.tiny import write_checkpoint

TEXTS = ["the cat sat", "a happy dog", "", "not fast but slow"]
LABELS = ["red", "blue", "dog"]


@pytest.fixture(scope="module")
def nli(tmp_path_factory: pytest.TempPathFactory) -> LLM:
    return LLM(write_checkpoint(tmp_path_factory.mktemp("nli"), NLI))


def test_the_results_are_those_of_the_list(nli: LLM, bert: LLM, tmp_path: Path) -> None:
    ner = LLM(write_checkpoint(tmp_path, NER))
    both = (
        (nli.stream(zero_shot_call(nli.model, LABELS), TEXTS), nli.zero_shot(TEXTS, LABELS, use_tqdm=False)),
        (bert.stream(reward_call(bert.model), TEXTS), bert.reward(TEXTS, use_tqdm=False)),
        (
            ner.stream(token_classify_call(ner.model, aggregation="simple"), TEXTS),
            ner.token_classify(TEXTS, aggregation="simple", use_tqdm=False),
        ),
    )
    for stream, outputs in both:
        assert list(map(str, stream)) == list(map(str, outputs))


def test_items_of_several_prompts_are_read_only_so_far(nli: LLM) -> None:
    """Three prompts an item; items lie across the borders of windows."""
    read = 0

    def texts() -> Iterator[Any]:
        nonlocal read
        for i in range(WINDOW):
            read += 1
            yield 7 if i == 3000 else TEXTS[i % 2]

    stream = nli.stream(zero_shot_call(nli.model, LABELS), texts(), on_error="return")
    first = next(stream)
    assert read <= 2 * WINDOW / 3 + 1
    outputs = [first, *stream]
    assert [int(out.request_id) for out in outputs] == list(range(WINDOW))
    assert [i for i, out in enumerate(outputs) if out.error is not None] == [3000]
    expected = nli.zero_shot(TEXTS[:2], LABELS, use_tqdm=False)
    for index in (0, 1364, 1365, 1366, 2999, 3001, WINDOW - 1):
        here, there = outputs[index].outputs, expected[index % 2].outputs
        assert here is not None
        assert there is not None
        assert dict(zip(here.labels, here.scores, strict=True)) == pytest.approx(
            dict(zip(there.labels, there.scores, strict=True)), abs=1e-6
        )


def test_an_error_has_the_number_of_its_item(nli: LLM) -> None:
    stream = nli.stream(zero_shot_call(nli.model, LABELS), ["the cat", 3])
    assert next(stream).error is None
    with pytest.raises(PromptError, match="prompt 1: a tuple is a pair") as caught:
        next(stream)
    assert caught.value.index == 1


def test_an_item_without_prompts_is_an_error_of_its_own(bert: LLM) -> None:
    call = dataclasses.replace(encode_call(bert.model, "classify"), expand=lambda item: item)
    outputs = list(bert.stream(call, [["a"], [], ["cat"]], on_error="return"))
    assert [str(out.error) if out.error else None for out in outputs] == [
        None,
        "prompt 1: there is nothing to score: the list is empty",
        None,
    ]


def test_misuse_is_refused_before_anything_is_read(bert: LLM) -> None:
    with pytest.raises(ConfigError, match="needs an NLI model"):
        zero_shot_call(bert.model, LABELS)
    with pytest.raises(ConfigError, match="on_error must be"):
        bert.stream(reward_call(bert.model), iter(["a"]), on_error="explode")  # type: ignore[arg-type]

"""/classify over HTTP: the documented examples field by field, and the offline API's results."""

import re
from typing import Any

import httpx
import pytest

from jaxcls import LLM, PoolingParams

TEXTS = ["Loved the new café—coffee was great.", "This update broke everything. Frustrating."]


def classify(client: httpx.Client, **body: Any) -> dict[str, Any]:
    answer = client.post("/classify", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_documented_request_is_answered_field_by_field(client: httpx.Client, bert: LLM) -> None:
    answer = classify(client, model="tiny", input=TEXTS)
    assert list(answer) == ["id", "object", "created", "model", "data", "usage"]
    assert re.fullmatch(r"classify-[0-9a-f]{32}", answer["id"])
    assert (answer["object"], answer["model"]) == ("list", "tiny")
    assert answer["created"] > 1_700_000_000
    expected = bert.classify(TEXTS, use_tqdm=False)
    for index, (data, output) in enumerate(zip(answer["data"], expected, strict=True)):
        assert output.outputs is not None
        assert list(data) == ["index", "label", "probs", "num_classes"]
        assert (data["index"], data["label"], data["num_classes"]) == (index, output.outputs.label, 3)
        assert data["probs"] == pytest.approx(output.outputs.probs, abs=1e-6)
    tokens = sum(len(output.prompt_token_ids) for output in expected)
    assert answer["usage"] == {
        "prompt_tokens": tokens,
        "total_tokens": tokens,
        "completion_tokens": 0,
        "prompt_tokens_details": None,
    }


def test_one_text_is_answered_as_a_list_of_one(client: httpx.Client) -> None:
    both, one = classify(client, input=TEXTS), classify(client, input=TEXTS[0])
    assert one["data"][0]["probs"] == pytest.approx(both["data"][0]["probs"], abs=1e-6)


def test_logits_labels_and_timings_are_there_when_asked_for(client: httpx.Client, bert: LLM) -> None:
    (expected,) = bert.classify("the cat", pooling_params=PoolingParams(use_activation=False), use_tqdm=False)
    assert expected.outputs is not None
    (data,) = classify(client, input="the cat", use_activation=False)["data"]
    assert data["probs"] == pytest.approx(expected.outputs.logits, abs=1e-6)
    (data,) = classify(client, input="the cat", return_logits=True, top_k=2, return_timings=True)["data"]
    assert data["logits"] == pytest.approx(expected.outputs.logits, abs=1e-6)
    assert [entry["score"] for entry in data["labels"]] == sorted(data["probs"], reverse=True)[:2]
    assert set(data["timings"]) == {"tokenize_ms", "queue_ms", "compute_ms"}


def test_pairs_and_token_ids(client: httpx.Client, bert: LLM) -> None:
    expected = bert.classify([("the cat", "a dog"), [1, 4, 6, 2]], use_tqdm=False)
    answer = classify(client, input=[{"text": "the cat", "text_pair": "a dog"}, [1, 4, 6, 2]])
    for data, output in zip(answer["data"], expected, strict=True):
        assert output.outputs is not None
        assert data["probs"] == pytest.approx(output.outputs.probs, abs=1e-6)
    alone = classify(client, input=[1, 4, 6, 2])["data"][0]["probs"]
    assert alone == pytest.approx(answer["data"][1]["probs"], abs=1e-6)


@pytest.mark.parametrize(
    ("body", "status", "param", "words"),
    [
        ({"input": ["the cat", "the " * 400]}, 400, "input[1]", "402 tokens"),
        ({"input": ["the cat", 5]}, 400, "input", "item 1"),
        ({"input": []}, 400, "input", "empty"),
        ({}, 400, "input", "required"),
        ({"input": "a", "model": "other"}, 404, "model", "`tiny`"),
        ({"input": "a", "normalize": True}, 400, None, "use_activation"),
        ({"input": "a", "colour": 1}, 400, "colour", "not permitted"),
        ({"input": "a", "priority": 3}, 400, "priority", "scheduling-policy"),
        ({"input": "a", "padding": "max_length"}, 400, "padding", "packed"),
        ({"input": "a", "truncate_prompt_tokens": 999}, 400, None, "max_model_len"),
        ({"input": "a", "truncate_prompt_tokens": -2}, 400, "truncate_prompt_tokens", "greater than or equal to -1"),
        ({"input": "a", "mm_processor_kwargs": {"a": 1}}, 400, "mm_processor_kwargs", "texts"),
        ({"input": "a", "cache_salt": "a/b"}, 400, "cache_salt", ""),
        ({"input": [[99999]]}, 400, "input", "out of range"),
    ],
)
def test_what_is_wrong_is_named(
    client: httpx.Client, body: dict[str, Any], status: int, param: str | None, words: str
) -> None:
    answer = client.post("/classify", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, status)
    assert set(error) == {"message", "type", "param", "code"}
    assert words in error["message"]
    if param is not None:
        assert error["param"] == param


def test_truncation(client: httpx.Client) -> None:
    answer = classify(client, input="the " * 400, truncate_prompt_tokens=5)
    assert answer["usage"]["prompt_tokens"] == 5

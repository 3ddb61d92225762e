"""The other APIs, each against the offline one."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from jaxcls import LLM
from jaxcls.outputs import RequestOutput
from tests.server.conftest import client_of, opened
from tests.tiny import BERT, write_checkpoint

DOCUMENTS = ["the happy cat", "a slow dog ran", "red tree"]
TEMPLATE = (
    "{% for m in messages %}{{ m.role }} {{ m.content }} [SEP] {% endfor %}{% if add_generation_prompt %}a{% endif %}"
)


@pytest.fixture(scope="module")
def ranker_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = {key: value for key, value in BERT.items() if key != "id2label"}
    return write_checkpoint(tmp_path_factory.mktemp("ranker"), {**config, "num_labels": 1})


@pytest.fixture(scope="module")
def ranker(ranker_path: Path) -> Iterator[httpx.Client]:
    with opened(ranker_path) as llm, client_of(llm) as client:
        yield client


def value(output: RequestOutput[Any]) -> Any:
    assert output.outputs is not None
    return output.outputs


def post(client: httpx.Client, path: str, **body: Any) -> Any:
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize(
    "names", [("queries", "documents"), ("queries", "items"), ("data_1", "data_2"), ("text_1", "text_2")]
)
def test_score(ranker: httpx.Client, ranker_path: Path, names: tuple[str, str]) -> None:
    expected = [value(o).score for o in LLM(ranker_path).score("the cat", DOCUMENTS, use_tqdm=False)]
    answer = post(ranker, "/v1/score", **{names[0]: "the cat", names[1]: DOCUMENTS})
    assert list(answer) == ["id", "object", "created", "model", "data", "usage"]
    assert [(d["index"], d["object"]) for d in answer["data"]] == [(i, "score") for i in range(3)]
    assert [d["score"] for d in answer["data"]] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
def test_rerank(ranker: httpx.Client, ranker_path: Path, path: str) -> None:
    expected = LLM(ranker_path).rerank("the cat", DOCUMENTS, use_tqdm=False)
    answer = post(ranker, path, query="the cat", documents=[DOCUMENTS[0], {"text": DOCUMENTS[1]}, DOCUMENTS[2]])
    assert [r["index"] for r in answer["results"]] == [r.index for r in expected]
    assert [r["relevance_score"] for r in answer["results"]] == pytest.approx([r.score for r in expected], abs=1e-6)
    assert [r["document"] for r in answer["results"]] == [
        {"text": DOCUMENTS[r.index], "multi_modal": None} for r in expected
    ]
    short = post(ranker, path, query="the cat", documents=DOCUMENTS, top_n=1, return_documents=False)
    assert [set(r) for r in short["results"]] == [{"index", "relevance_score"}]


def test_teis_rerank(ranker: httpx.Client, ranker_path: Path) -> None:
    expected = LLM(ranker_path).rerank("the cat", DOCUMENTS, use_tqdm=False)
    answer = post(ranker, "/rerank", query="the cat", texts=DOCUMENTS, return_text=True)
    assert [(r["index"], r["text"]) for r in answer] == [(r.index, DOCUMENTS[r.index]) for r in expected]


def test_a_bad_document_is_named(ranker: httpx.Client) -> None:
    answer = ranker.post("/rerank", json={"query": "a", "documents": ["the cat", "the " * 300]})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "documents[1]"


def test_several_classes_are_scored_by_one(client: httpx.Client, bert: LLM) -> None:
    refused = client.post("/score", json={"queries": "the cat", "documents": "a dog"})
    assert (refused.status_code, refused.json()["detail"]) == (404, "Not Found")
    assert "positive" in refused.json()["error"]["message"]
    (expected,) = bert.score("the cat", "a dog", label="positive", use_tqdm=False)
    answer = post(client, "/score", queries="the cat", documents="a dog", label="positive")
    assert answer["data"][0]["score"] == pytest.approx(value(expected).score, abs=1e-6)


def test_pooling_in_every_encoding(client: httpx.Client, bert: LLM) -> None:
    texts = ["the cat", "a dog ran"]
    expected = [value(o).data for o in bert.encode(texts, pooling_task="token_classify", use_tqdm=False)]
    asked: dict[str, Any] = {"input": texts, "task": "token_classify"}
    lists = post(client, "/pooling", **asked)
    assert [d["object"] for d in lists["data"]] == ["pooling", "pooling"]
    for data, rows in zip(lists["data"], expected, strict=True):
        np.testing.assert_allclose(data["data"], rows, atol=1e-6)
    coded = post(client, "/pooling", **asked, encoding_format="base64", embed_dtype="float16")
    for data, rows in zip(coded["data"], expected, strict=True):
        found = np.frombuffer(base64.b64decode(data["data"]), np.float16)
        np.testing.assert_allclose(found.reshape(rows.shape), rows, atol=1e-3)
    answer = client.post("/pooling", json={**asked, "encoding_format": "bytes", "endianness": "big"})
    assert answer.headers["content-type"] == "application/octet-stream"
    for data, rows in zip(json.loads(answer.headers["metadata"])["data"], expected, strict=True):
        found = np.frombuffer(answer.content[data["start"] : data["end"]], ">f4").reshape(data["shape"])
        np.testing.assert_allclose(found, rows, atol=1e-6)
    bare = client.post("/pooling", json={**asked, "encoding_format": "bytes_only"})
    assert "metadata" not in bare.headers
    assert len(bare.content) == sum(4 * rows.size for rows in expected)


def test_pooling_refuses_what_it_cannot_do(client: httpx.Client) -> None:
    for body, words in (
        ({"task": "embed"}, "Unsupported task"),
        ({"dimensions": 4}, "classifiers have none"),
        ({"embed_dtype": "float16"}, "as bytes"),
    ):
        answer = client.post("/pooling", json={"input": "the cat", **body})
        assert (answer.status_code, words in answer.text) == (400, True), answer.text


def test_teis_predict(client: httpx.Client) -> None:
    probs = post(client, "/classify", input="the cat", top_k=3)["data"][0]["labels"]
    assert post(client, "/predict", inputs="the cat") == probs
    pair = post(client, "/classify", input={"text": "the cat", "text_pair": "a dog"}, top_k=3)["data"][0]["labels"]
    found = post(client, "/predict", inputs=[["the cat"], ["the cat", "a dog"]])
    for ranked, expected in zip(found, (probs, pair), strict=True):
        assert [r["label"] for r in ranked] == [r["label"] for r in expected]
        assert [r["score"] for r in ranked] == pytest.approx([r["score"] for r in expected], abs=1e-6)
    assert post(client, "/predict", inputs=["the cat", "a dog"])[0]["label"] == pair[0]["label"]
    assert client.post("/predict", json={"inputs": "the " * 400}).status_code == 400
    assert post(client, "/predict", inputs="the " * 400, truncate=True)


@pytest.mark.parametrize(("path", "more"), [("/classify", {"raw_scores": False}), ("/infinity/classify", {})])
def test_infinitys_classify(client: httpx.Client, path: str, more: dict[str, Any]) -> None:
    answer = post(client, path, input=["the cat", "the " * 400], model="tiny", **more)
    assert set(answer) == {"object", "data", "model", "usage", "id", "created"}
    assert answer["object"] == "classify"
    assert [len(labels) for labels in answer["data"]] == [3, 3]
    expected = post(client, "/predict", inputs="the cat")
    assert [entry["label"] for entry in answer["data"][0]] == [entry["label"] for entry in expected]
    assert [entry["score"] for entry in answer["data"][0]] == pytest.approx([e["score"] for e in expected], abs=1e-6)


def test_invocations_do_what_the_body_is_for(client: httpx.Client, ranker: httpx.Client) -> None:
    answer = post(client, "/invocations", input=["the cat"], model="tiny")
    assert answer["data"] == post(client, "/classify", input=["the cat"])["data"]
    assert "results" in post(ranker, "/invocations", query="the cat", documents=DOCUMENTS)
    assert post(ranker, "/invocations", text_1="the cat", text_2="a dog")["data"][0]["object"] == "score"
    refused = client.post("/invocations", json={"colour": "red"})
    assert (refused.status_code, "Cannot find suitable handler" in refused.text) == (400, True)


def test_tokens_there_and_back(client: httpx.Client) -> None:
    found = post(client, "/tokenize", prompt="the cat", return_token_strs=True)
    assert found == {
        "count": 4,
        "max_model_len": 160,
        "tokens": [1, 4, 6, 2],
        "token_strs": ["[CLS]", "the", "cat", "[SEP]"],
    }
    assert post(client, "/tokenize", prompt="the cat", add_special_tokens=False)["tokens"] == [4, 6]
    assert post(client, "/detokenize", tokens=[4, 6]) == {"prompt": "the cat"}
    assert client.post("/detokenize", json={"tokens": [4, 10**12]}).status_code == 400


def test_embeddings(tmp_path: Path) -> None:
    config = {**BERT, "architectures": ["BertForSequenceClassification"]}
    path = write_checkpoint(tmp_path / "embedder", config)
    offline = LLM(path, convert="embed")
    expected = [value(output).embedding for output in offline.embed(["the cat", "a dog"], use_tqdm=False)]
    with opened(path, convert="embed") as llm, client_of(llm) as client:
        answer = post(client, "/v1/embeddings", input=["the cat", "a dog"])
        assert [d["object"] for d in answer["data"]] == ["embedding", "embedding"]
        np.testing.assert_allclose([d["embedding"] for d in answer["data"]], expected, atol=1e-6)
        short = post(client, "/v1/embeddings", input="the cat", dimensions=8, encoding_format="base64")
        found = np.frombuffer(base64.b64decode(short["data"][0]["embedding"]), np.float32)
        assert len(found) == 8
        assert client.post("/classify", json={"input": "the cat"}).status_code == 404


def test_a_conversation_is_rendered_and_cut_in_what_was_said(qwen_path: Path) -> None:
    messages = [{"role": "the", "content": "happy"}, {"role": "user", "content": "the cat sat on the mat"}]
    with opened(qwen_path, chat_template=None) as llm, client_of(llm, trust_request_chat_template=True) as client:
        refused = client.post("/classify", json={"messages": messages})
        assert (refused.status_code, "no chat template" in refused.text) == (400, True)
        asked: dict[str, Any] = {"messages": messages, "chat_template": TEMPLATE}
        whole = post(client, "/tokenize", **asked, add_generation_prompt=False)["tokens"]
        expected = post(client, "/classify", input=whole)
        answer = post(client, "/classify", **asked)
        assert answer["data"][0]["probs"] == pytest.approx(expected["data"][0]["probs"], abs=1e-6)
        assert answer["usage"]["prompt_tokens"] == len(whole)
        # "cat sat on the mat" loses its end; the template's [SEP] stays.
        cut = post(client, "/classify", **asked, truncate_prompt_tokens=len(whole) - 2)
        kept = [*whole[:-3], whole[-1]]
        expected = post(client, "/classify", input=[*whole[:-3], whole[-1]])
        assert cut["usage"]["prompt_tokens"] == len(kept)
        assert cut["data"][0]["probs"] == pytest.approx(expected["data"][0]["probs"], abs=1e-6)
        both = client.post("/classify", json={**asked, "add_generation_prompt": True, "continue_final_message": True})
        assert (both.status_code, "exclude each other" in both.text) == (400, True)
        broken = client.post("/classify", json={**asked, "chat_template": "{{ messages.__class__.__mro__ }}{% for"})
        assert broken.status_code == 400
    with opened(qwen_path) as llm, client_of(llm) as client:
        refused = client.post("/classify", json={"messages": messages, "chat_template": TEMPLATE})
        assert (refused.status_code, "--trust-request-chat-template" in refused.text) == (400, True)


def test_several_labels_may_be_true(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "multi", {**BERT, "problem_type": "multi_label_classification"})
    with opened(path) as llm, client_of(llm) as client:
        (data,) = post(client, "/classify", input="the cat")["data"]
        assert data["label"] is None
        likely = sorted((p for p in data["probs"] if p >= 0.5), reverse=True)
        assert [entry["score"] for entry in data["labels"]] == likely
        (none,) = post(client, "/classify", input="the cat", threshold=0.999999)["data"]
        assert none["labels"] == []

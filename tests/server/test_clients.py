"""The official clients of OpenAI and Cohere, unchanged but for the address."""

import base64
from collections.abc import Iterator
from pathlib import Path

import cohere
import httpx
import numpy as np
import openai
import pytest

from jaxcls import LLM
from tests.modules import write_modules
from tests.parity.sentence import bert
from tests.server.conftest import client_of, opened

TEXTS = ["the happy cat", "a slow dog ran"]
KEY = "a-key"


@pytest.fixture(scope="module")
def embedder_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_modules(bert(tmp_path_factory.mktemp("embedder")))


@pytest.fixture(scope="module")
def embedder(embedder_path: Path) -> Iterator[httpx.Client]:
    with opened(embedder_path) as llm, client_of(llm, api_keys=(KEY,)) as client:
        yield client


def test_openais_client_embeds(embedder: httpx.Client, embedder_path: Path) -> None:
    expected = LLM(embedder_path).embed(TEXTS, use_tqdm=False)
    with openai.OpenAI(base_url=f"{embedder.base_url}/v1/", api_key=KEY) as client:
        assert [model.id for model in client.models.list()] == ["tiny"]
        answer = client.embeddings.create(model="tiny", input=TEXTS)
        assert answer.usage.total_tokens == sum(len(output.prompt_token_ids) for output in expected)
        for data, output in zip(answer.data, expected, strict=True):
            assert output.outputs is not None
            np.testing.assert_allclose(data.embedding, output.outputs.embedding, atol=1e-6)
        short = client.embeddings.create(model="tiny", input=TEXTS[0], dimensions=6, encoding_format="float")
        assert np.linalg.norm(short.data[0].embedding) == pytest.approx(1)
        coded = client.embeddings.create(model="tiny", input=TEXTS[0], encoding_format="base64").data[0].embedding
        assert isinstance(coded, str)
        np.testing.assert_allclose(np.frombuffer(base64.b64decode(coded), "<f4"), answer.data[0].embedding, atol=1e-6)
        with pytest.raises(openai.NotFoundError, match="`other` does not exist"):
            client.embeddings.create(model="other", input=TEXTS)
        with pytest.raises(openai.BadRequestError, match="colour") as raised:
            client.embeddings.create(model="tiny", input=TEXTS, extra_body={"colour": 1})
        assert raised.value.param == "colour"
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{embedder.base_url}/v1/", api_key="wrong").models.list()


def test_coheres_clients_rerank(embedder: httpx.Client, embedder_path: Path) -> None:
    documents = [*TEXTS, "red tree"]
    expected = LLM(embedder_path).rerank("the cat", documents, use_tqdm=False)
    address = str(embedder.base_url)
    newer = cohere.ClientV2(KEY, base_url=address).rerank(model="tiny", query="the cat", documents=documents, top_n=2)
    older = cohere.Client(KEY, base_url=address).rerank(
        model="tiny", query="the cat", documents=[{"text": text} for text in documents], return_documents=True
    )
    assert [result.index for result in newer.results] == [result.index for result in expected[:2]]
    for found, result in zip(older.results, expected, strict=True):
        assert found.document is not None
        assert (found.index, found.document.text) == (result.index, result.document)
        assert found.relevance_score == pytest.approx(result.score, abs=1e-6)

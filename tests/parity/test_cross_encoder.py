"""Scores and ranks against sentence-transformers' CrossEncoder. Needs torch, which `make parity` installs."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from jaxcls import LLM, PoolingParams
from tests.tiny import BERT, WORDS, word_tokenizer, write_checkpoint

pytest.importorskip("torch", reason="compares with live torch: run `make parity`")
CrossEncoder = pytest.importorskip("sentence_transformers", reason="run `make parity`").CrossEncoder

ROBERTA = {
    **BERT,
    "architectures": ["XLMRobertaForSequenceClassification"],
    "model_type": "xlm-roberta",
    "type_vocab_size": 1,
    "pad_token_id": 0,
}
ACTIVATIONS = (None, "linear.Identity", "activation.Sigmoid", "activation.Tanh", "activation.ReLU")


def sentences(count: int, longest: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(1, longest))) for _ in range(count)]


def cross_encoder(path: Path, config: dict[str, Any], activation: str | None, labels: int = 1) -> Path:
    metadata = {} if activation is None else {"activation_fn": f"torch.nn.modules.{activation}", "version": "5.0.0"}
    names = {str(i): f"LABEL_{i}" for i in range(labels)}
    write_checkpoint(path, {**config, "id2label": names, "sentence_transformers": metadata})
    limit = config["max_position_embeddings"] - (config["pad_token_id"] + 1 if "roberta" in config["model_type"] else 0)
    inputs = ["input_ids", "attention_mask", *(["token_type_ids"] if config["model_type"] == "bert" else [])]
    PreTrainedTokenizerFast(
        tokenizer_object=word_tokenizer(),
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        unk_token="[UNK]",
        model_max_length=limit,
        model_input_names=inputs,
    ).save_pretrained(path)
    return path


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("config", [{**BERT, "pad_token_id": 0}, ROBERTA], ids=["bert", "xlm-roberta"])
def test_scores_of_pairs(config: dict[str, Any], activation: str | None, tmp_path: Path) -> None:
    path = cross_encoder(tmp_path, config, activation)
    queries, documents = sentences(50, 8, 0), sentences(50, 60, 1)
    expected = CrossEncoder(str(path), device="cpu").predict(list(zip(queries, documents, strict=True)))
    scores = [out.outputs.score for out in LLM(path).score(queries, documents, use_tqdm=False) if out.outputs]
    np.testing.assert_allclose(scores, expected, atol=1e-5, rtol=0)


def test_logits_of_several_labels(tmp_path: Path) -> None:
    """CrossEncoder applies nothing to several labels."""
    path = cross_encoder(tmp_path, {**BERT, "pad_token_id": 0}, None, labels=3)
    pairs = list(zip(sentences(50, 8, 2), sentences(50, 30, 3), strict=True))
    expected = CrossEncoder(str(path), device="cpu").predict(pairs)
    llm = LLM(path)
    for label in range(3):
        outputs = llm.score(*map(list, zip(*pairs, strict=True)), label=label, use_tqdm=False)
        np.testing.assert_allclose([o.outputs.logit for o in outputs if o.outputs], expected[:, label], atol=1e-5)


def test_ranks_and_documents_that_are_too_long(tmp_path: Path) -> None:
    """Both cut the document, where it is the longer text."""
    path = cross_encoder(tmp_path, {**BERT, "pad_token_id": 0}, None)
    query, documents = sentences(1, 8, 4)[0], [*sentences(40, 40, 5), *(" ".join(WORDS * 12) for _ in range(2))]
    expected = CrossEncoder(str(path), device="cpu").rank(query, documents, top_k=10)
    llm = LLM(path)
    results = llm.rerank(query, documents, top_n=10, tokenization_kwargs={"truncate_prompt_tokens": -1}, use_tqdm=False)
    assert [result.index for result in results] == [entry["corpus_id"] for entry in expected]
    scores = [result.score for result in results]
    np.testing.assert_allclose(scores, [entry["score"] for entry in expected], atol=1e-5)  # type: ignore[arg-type]
    logits = llm.rerank(query, documents, pooling_params=PoolingParams(use_activation=False), max_tokens_per_doc=30)
    assert len(logits) == 42

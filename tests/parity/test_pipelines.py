"""Spans, zero-shot scores and converted checkpoints against live transformers pipelines, on 50 inputs each.

Needs torch, which `make parity` installs.
"""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from jaxcls import LLM
from jaxcls.engine.export import export
from tests.api.test_words import OVERRIDES, TEXTS, logits, write_language_model
from tests.parity.encoder_cases import BERT, ROBERTA, override
from tests.tiny import write_checkpoint

torch = pytest.importorskip("torch", reason="compares with live torch: run `make parity`")
transformers = pytest.importorskip("transformers")

SENTENCE = "Anna Berlin works at Acme in the old town of Paris with Ben, who isn't there! 42 trains ran-over unseenword"
WORDS = SENTENCE.split()
ENTITIES = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC", "MISC")


def texts(count: int = 50) -> list[str]:
    rng = random.Random(0)
    return [" ".join(rng.choices(WORDS, k=rng.randint(1, 14))) for _ in range(count)]


def word_piece() -> Tokenizer:
    """As BERT's: subwords marked with "##"; one word is unknown to it."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", continuing_subword_prefix="##"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=90, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]"], continuing_subword_prefix="##"
    )
    tokenizer.train_from_iterator([w for w in WORDS if w != "42"] * 3, trainer)
    ends = [(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
    )
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    return tokenizer


def byte_level() -> Tokenizer:
    """As RoBERTa's: a space belongs to the word after it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted({c for word in WORDS for c in word} | {"Ġ"})
    trainer = trainers.BpeTrainer(
        vocab_size=90, special_tokens=["<s>", "<pad>", "</s>", "<unk>"], initial_alphabet=alphabet
    )
    tokenizer.train_from_iterator([SENTENCE] * 3, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def checkpoint(folder: Path, base: dict[str, Any], architecture: str, names: tuple[str, ...]) -> Path:
    """A tiny model with a tokenizer that transformers reads as well."""
    labels = {
        "id2label": {str(i): name for i, name in enumerate(names)},
        "label2id": {n: i for i, n in enumerate(names)},
    }
    config = override(base, {"architectures": [architecture], "max_position_embeddings": 130, **labels})
    write_checkpoint(folder, config, tokenizer=False)
    roberta = config["model_type"] == "roberta"
    (byte_level() if roberta else word_piece()).save(str(folder / "tokenizer.json"))
    special = ("<s>", "</s>", "<pad>", "<unk>") if roberta else ("[CLS]", "[SEP]", "[PAD]", "[UNK]")
    keys = ("cls_token", "sep_token", "pad_token", "unk_token")
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 128,
        **dict(zip(keys, special, strict=True)),
    }
    names = ["input_ids", "attention_mask"]
    settings["model_input_names"] = names if roberta else [*names, "token_type_ids"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


@pytest.mark.parametrize("aggregation", ["none", "simple", "first", "average", "max"])
@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_spans_are_those_of_the_pipeline(family: str, aggregation: Any, tmp_path: Path) -> None:
    base, architecture = (
        (BERT, "BertForTokenClassification") if family == "bert" else (ROBERTA, "RobertaForTokenClassification")
    )
    path = checkpoint(tmp_path, base, architecture, ENTITIES)
    pipeline = transformers.pipeline("token-classification", model=str(path), aggregation_strategy=aggregation)
    llm = LLM(path, compilation_cache_dir=False)
    found = 0
    for text, out in zip(texts(), llm.token_classify(texts(), aggregation=aggregation, use_tqdm=False), strict=True):
        expected = pipeline(text)
        assert out.outputs is not None
        spans = out.outputs.spans
        key = "entity" if aggregation == "none" else "entity_group"
        assert [(s.label, s.start, s.end, s.word) for s in spans] == [
            (e[key], e["start"], e["end"], e["word"]) for e in expected
        ]
        assert [s.score for s in spans] == pytest.approx([e["score"] for e in expected], abs=1e-5)
        assert [s.index for s in spans] == [e.get("index") for e in expected]
        found += len(spans)
    assert found > 100


@pytest.mark.parametrize("multi_label", [True, False])
@pytest.mark.parametrize("names", [("contradiction", "neutral", "entailment"), ("ENTAILMENT", "NOT_ENTAILMENT")])
def test_zero_shot_scores_are_those_of_the_pipeline(names: tuple[str, ...], multi_label: bool, tmp_path: Path) -> None:
    path = checkpoint(tmp_path, BERT, "BertForSequenceClassification", names)
    pipeline = transformers.pipeline("zero-shot-classification", model=str(path))
    llm = LLM(path, compilation_cache_dir=False)
    labels, template = ["old town", "trains", "Acme"], "there works {}."
    ours = llm.zero_shot(texts(), labels, hypothesis_template=template, multi_label=multi_label, use_tqdm=False)
    for text, out in zip(texts(), ours, strict=True):
        expected = pipeline(text, labels, hypothesis_template=template, multi_label=multi_label)
        assert out.outputs is not None
        assert dict(zip(out.outputs.labels, out.outputs.scores, strict=True)) == pytest.approx(
            dict(zip(expected["labels"], expected["scores"], strict=True)), abs=1e-5
        )
        assert out.outputs.scores == sorted(out.outputs.scores, reverse=True)


@pytest.mark.parametrize("tied", [True, False])
def test_transformers_loads_what_is_exported(tied: bool, tmp_path: Path) -> None:
    path = write_language_model(tmp_path / "lm", tied=tied)
    exported = export(path, tmp_path / "plain", hf_overrides=OVERRIDES)
    model, info = transformers.AutoModelForSequenceClassification.from_pretrained(exported, output_loading_info=True)
    assert not any(info.values())
    llm = LLM(path, hf_overrides=OVERRIDES)
    ids = [out.prompt_token_ids for out in llm.classify(TEXTS, use_tqdm=False)]
    with torch.no_grad():
        theirs = np.stack([model(torch.tensor([row])).logits[0].numpy() for row in ids])
    np.testing.assert_allclose(logits(llm), theirs, atol=1e-5)

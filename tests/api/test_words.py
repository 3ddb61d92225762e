"""Language models as classifiers: which rows become the head, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

from jaxcls import LLM
from jaxcls.config.hf import HfView
from jaxcls.engine.converted import convert
from jaxcls.engine.export import export
from jaxcls.errors import CheckpointError, ConfigError, PromptError
from jaxcls.info import describe
from jaxcls.registry import classifier_name, find_architecture
from tests.tiny import QWEN3, SPECIAL, WORDS, write_checkpoint
from weights.dummy import random_tensor
from weights.export import save_tensors

NO, YES = "sad", "happy"
IDS = {word: i for i, word in enumerate([*SPECIAL, *WORDS])}
OVERRIDES = {"classifier_from_token": [NO, YES], "method": "from_2_way_softmax"}
TEXTS = ["the cat sat", "a dog ran under the red mat", "very slow"]


def write_language_model(path: Path, *, tied: bool, config: dict[str, Any] | None = None) -> Path:
    """A tiny causal language model: no head, and an output matrix of its own if it is not tied."""
    values = {**QWEN3, "architectures": ["Qwen3ForCausalLM"], "tie_word_embeddings": tied, **(config or {})}
    write_checkpoint(path, {**values, "architectures": ["Qwen3ForSequenceClassification"]})
    (path / "config.json").write_text(json.dumps(values))
    tensors = load_file(path / "model.safetensors")
    del tensors["score.weight"]
    if not tied:
        tensors["lm_head.weight"] = random_tensor(5, "lm_head.weight", tensors["model.embed_tokens.weight"].shape)
    save_file(tensors, path / "model.safetensors")
    return path


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def language_model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_language_model(tmp_path_factory.mktemp("lm"), tied=request.param)


def with_head(path: Path, folder: Path, rows: np.ndarray) -> LLM:
    """The same body with `rows` as an ordinary head."""
    config = json.loads((path / "config.json").read_text())
    names = {"id2label": {str(i): f"class {i}" for i in range(len(rows))}}
    folder.mkdir()
    (folder / "config.json").write_text(
        json.dumps({**config, "architectures": ["Qwen3ForSequenceClassification"], **names})
    )
    tensors = load_file(path / "model.safetensors")
    tensors.pop("lm_head.weight", None)
    save_file({**tensors, "score.weight": rows}, folder / "model.safetensors")
    (folder / "tokenizer.json").write_text((path / "tokenizer.json").read_text())
    return LLM(folder)


def output_matrix(path: Path) -> np.ndarray:
    tensors = load_file(path / "model.safetensors")
    return tensors.get("lm_head.weight", tensors["model.embed_tokens.weight"])


def logits(llm: LLM, texts: list[Any] = TEXTS) -> np.ndarray:
    return np.array([out.outputs.logits for out in llm.classify(texts, use_tqdm=False) if out.outputs])


@pytest.mark.parametrize("where", ["top", "text_config", "function", "qwen3"])
def test_two_way_softmax_is_the_difference_of_two_rows(language_model: Path, tmp_path: Path, where: str) -> None:
    def function(config: Any) -> Any:
        config.classifier_from_token, config.method = [NO, YES], "from_2_way_softmax"
        return config

    overrides: Any = {
        "top": OVERRIDES,
        "text_config": {"text_config": OVERRIDES},
        "function": function,
        # What vLLM's users pass, word for word.
        "qwen3": {
            "architectures": ["Qwen3ForSequenceClassification"],
            "classifier_from_token": [NO, YES],
            "is_original_qwen3_reranker": True,
        },
    }[where]
    llm = LLM(language_model, hf_overrides=overrides)
    matrix = output_matrix(language_model)
    expected = logits(with_head(language_model, tmp_path / "head", matrix[[IDS[YES]]] - matrix[[IDS[NO]]]))
    np.testing.assert_allclose(logits(llm), expected, atol=1e-6)
    (out,) = llm.classify(TEXTS[0])
    assert out.outputs is not None
    assert out.outputs.labels()[0].label == YES
    assert out.outputs.probs == pytest.approx([1 / (1 + np.exp(-expected[0, 0]))], abs=1e-6)


def test_no_post_processing_gives_a_class_a_token(language_model: Path, tmp_path: Path) -> None:
    tokens = ["red", "blue", "fast"]
    names = {"red": "colour R", "blue": "colour B", "fast": "none"}
    overrides = {"classifier_from_token": tokens, "method": "no_post_processing", "id2label": names}
    llm = LLM(language_model, hf_overrides=overrides, convert="classify")
    rows = output_matrix(language_model)[[IDS[token] for token in tokens]]
    np.testing.assert_allclose(logits(llm), logits(with_head(language_model, tmp_path / "head", rows)), atol=1e-6)
    (out,) = llm.classify(TEXTS[0])
    assert out.outputs is not None
    assert out.outputs.label in names.values()


def test_labels_are_a_softmax_over_their_words(language_model: Path, tmp_path: Path) -> None:
    llm = LLM(language_model, labels={"positive": "happy", "negative": "sad"}, prompt_template="very {text} but not")
    rows = output_matrix(language_model)[[IDS["happy"], IDS["sad"]]]
    plain = with_head(language_model, tmp_path / "head", rows)
    expected = logits(plain, [f"very {text} but not" for text in TEXTS])
    np.testing.assert_allclose(logits(llm), expected, atol=1e-6)
    (out,) = llm.classify(TEXTS[0])
    assert out.outputs is not None
    assert out.outputs.label == ("positive" if expected[0, 0] > expected[0, 1] else "negative")
    assert sum(out.outputs.probs) == pytest.approx(1)


def test_published_rerankers_are_known_by_name(tmp_path: Path) -> None:
    path = write_language_model(tmp_path / "Qwen3-Reranker-0.6B", tied=True)
    tokenizer = (path / "tokenizer.json").read_text()
    (path / "tokenizer.json").write_text(tokenizer.replace('"sad"', '"no"').replace('"happy"', '"yes"'))
    with pytest.raises(ConfigError, match=r"special token .* which this tokenizer does not know"):
        LLM(path)
    knows = Tokenizer.from_file(str(path / "tokenizer.json"))
    knows.add_special_tokens(["<|im_start|>", "<|im_end|>", "<think>", "</think>"])
    knows.save(str(path / "tokenizer.json"))
    ours = logits(LLM(path))
    other = tmp_path / "renamed"
    path.rename(other)
    overrides = {"classifier_from_token": ["no", "yes"], "method": "from_2_way_softmax"}
    np.testing.assert_array_equal(ours, logits(LLM(other, hf_overrides=overrides)))
    with pytest.raises(CheckpointError, match="no classification head"):
        LLM(other)


def test_a_language_model_without_words_has_no_head(language_model: Path) -> None:
    with pytest.raises(CheckpointError, match=r"labels=.*classifier_from_token"):
        LLM(language_model)
    with pytest.raises(ConfigError, match="convert='none' forbids"):
        LLM(language_model, convert="none")
    assert LLM(language_model, head_init="random").classify("the cat")[0].outputs is not None


def test_a_base_model_may_have_a_head(qwen_path: Path, qwen: LLM) -> None:
    ours = logits(LLM(qwen_path, hf_overrides={"architectures": ["Qwen3Model"]}))
    np.testing.assert_array_equal(ours, logits(qwen))


@pytest.mark.parametrize(
    "name",
    [
        *("GPT2LMHeadModel", "Gemma2ForCausalLM", "Gemma3ForCausalLM", "GemmaForCausalLM", "JambaForCausalLM"),
        *("LlamaForCausalLM", "MistralForCausalLM", "Phi3ForCausalLM", "Qwen2ForCausalLM", "Qwen2MoeForCausalLM"),
        *("Qwen3ForCausalLM", "Qwen3MoeForCausalLM", "BertModel", "ModernBertForMaskedLM", "DebertaV2Model"),
    ],
)
def test_language_models_and_base_models_run_as_their_classifier(name: str) -> None:
    architecture = find_architecture(classifier_name(name, convert=True))
    assert architecture.pooling != "ALL"
    if "CausalLM" in name:  # where a head is made of rows, the embedding's name has to be known
        rules = architecture.weights(architecture.config(HfView({}))).rules
        assert [rule for rule in rules if rule.target == "embed.tokens.weight"]


def test_an_untied_model_without_output_matrix_is_refused(tmp_path: Path) -> None:
    path = write_language_model(tmp_path / "lm", tied=True, config={"tie_word_embeddings": False})
    with pytest.raises(ConfigError, match=r"tie_word_embeddings is false, but there is no lm_head\.weight"):
        LLM(path, hf_overrides=OVERRIDES)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hf_overrides": {"method": "from_2_way_softmax"}}, "needs classifier_from_token"),
        ({"hf_overrides": {"classifier_from_token": [NO, YES]}}, "needs a method"),
        ({"hf_overrides": {**OVERRIDES, "classifier_from_token": [YES]}}, "takes two tokens"),
        ({"hf_overrides": {**OVERRIDES, "classifier_from_token": [YES, YES]}}, "not all different tokens"),
        ({"hf_overrides": {**OVERRIDES, "classifier_from_token": "yes"}}, "must be a list of tokens"),
        ({"hf_overrides": {**OVERRIDES, "classifier_from_token": ["Ja", "Nein"]}}, "'Ja' is not in the vocabulary"),
        ({"hf_overrides": OVERRIDES, "labels": ["happy", "sad"]}, "both say what the head is"),
        ({"labels": {"positive": "happy sad", "negative": "not"}}, r"'happy sad' is 2 tokens"),
        (
            {"hf_overrides": {**OVERRIDES, "classifier_from_token": ["mat", "mattress"]}},
            "'mattress' is not in the vocabulary",
        ),
        ({"hf_overrides": {**OVERRIDES, "classifier_from_token": ["sad", "sad"]}}, "not all different tokens"),
        ({"labels": ["happy"]}, "two different words"),
        ({"labels": {"a": "happy", "b": "happy"}}, "two different words"),
        ({"labels": ["happy", "sad"], "prompt_template": "no place"}, r"must hold \{text\} once"),
        ({"labels": ["happy", "sad"], "prompt_template": "{text} {other}"}, r"must hold \{text\} once"),
        ({"labels": ["happy", "sad"], "prompt_template": "{text"}, "write a brace as"),
    ],
)
def test_misuse_is_refused_with_the_reason(language_model: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LLM(language_model, **options)


def test_labels_are_for_language_models(qwen_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Qwen3ForSequenceClassification is none.*zero_shot"):
        LLM(qwen_path, labels=["happy", "sad"])


def test_truncation_cuts_the_text_and_never_the_template(language_model: Path) -> None:
    llm = LLM(language_model, labels=["happy", "sad"], prompt_template="very {text} but not")
    for side in ("left", "right"):
        for keep in range(5, 14):
            kwargs = {"truncate_prompt_tokens": keep, "truncation_side": side}
            (out,) = llm.classify("the cat sat on a mat", tokenization_kwargs=kwargs, use_tqdm=False)
            words = out.prompt_token_ids
            frame = [IDS[t] for t in ("[CLS]", "very")], [IDS[t] for t in ("but", "not", "[SEP]")]
            assert len(words) == min(keep, 11)
            assert (words[:2], words[-3:]) == frame
    with pytest.raises(Exception, match="4 tokens leave no room for the 5 tokens of the template"):
        llm.classify("the cat", tokenization_kwargs={"truncate_prompt_tokens": 4})
    with pytest.raises(Exception, match="takes a single text"):
        llm.classify(("the cat", "sat"))


def test_what_info_says_of_the_head(language_model: Path) -> None:
    info = describe(language_model, hf_overrides=OVERRIDES)
    assert info.problems is None
    assert info.head == (
        f"rows {IDS[NO]}, {IDS[YES]} of the output matrix, from_2_way_softmax (classifier_from_token, 'sad', 'happy')"
    )
    assert describe(language_model).problems


def test_conversion_to_files(language_model: Path, tmp_path: Path) -> None:
    """Both kinds of converted directory give the logits of the conversion while loading."""
    expected = logits(LLM(language_model, hf_overrides=OVERRIDES))
    exported = export(language_model, tmp_path / "plain", hf_overrides=OVERRIDES)
    np.testing.assert_array_equal(logits(LLM(exported)), expected)
    names = load_file(exported / "model.safetensors")
    assert "score.weight" in names
    assert "lm_head.weight" not in names
    assert json.loads((exported / "config.json").read_text())["architectures"] == ["Qwen3ForSequenceClassification"]
    converted = convert(language_model, tmp_path / "fast", hf_overrides=OVERRIDES)
    np.testing.assert_array_equal(logits(LLM(converted)), expected)
    with pytest.raises(ConfigError, match="not an empty directory"):
        export(language_model, exported)


def test_export_in_shards(language_model: Path, tmp_path: Path) -> None:
    tensors = load_file(language_model / "model.safetensors")
    save_tensors(tmp_path, tensors.items(), shard_bytes=4000)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"]) == set(tensors)
    assert len(set(index["weight_map"].values())) > 1
    for name, file in index["weight_map"].items():
        np.testing.assert_array_equal(load_file(tmp_path / file)[name], tensors[name])


def test_a_pair_needs_a_prompt(language_model: Path) -> None:
    """Without one, a reranker's words are read where they mean nothing."""
    pair = ("the cat", "a dog")
    with pytest.raises(PromptError, match="a pair needs one: load it with prompt_template"):
        LLM(language_model, hf_overrides=OVERRIDES).classify(pair)
    llm = LLM(language_model, hf_overrides=OVERRIDES, prompt_template="the {text} but {text_pair} and")
    (out,) = llm.classify(pair, use_tqdm=False)
    assert out.prompt_token_ids == [IDS[w] for w in "[CLS] the the cat but a dog and [SEP]".split()]

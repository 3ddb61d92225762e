"""LLM.score and LLM.rerank: what is paired, what is scored, and what is refused."""

import asyncio
import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer

from jaxcls import LLM, AsyncLLM, PoolingParams
from jaxcls.engine.converted import convert
from jaxcls.engine.export import export
from jaxcls.errors import CheckpointError, ConfigError, PromptError
from jaxcls.info import describe
from tests.api.test_words import write_language_model
from tests.tiny import BERT, QWEN3, SPECIAL, WORDS, tensors, write_checkpoint

IDS = {word: i for i, word in enumerate([*SPECIAL, *WORDS])}
QUERY, DOCUMENTS = "the cat", ["a dog ran", "the cat sat on a mat", "blue", "a dog ran", "the tree"]
ONE_LABEL = {"id2label": {"0": "relevance"}}
MARKERS = ["<|im_start|>", "<|im_end|>", "<think>", "</think>"]


@pytest.fixture(scope="module")
def reranker_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("reranker"), {**BERT, **ONE_LABEL})


@pytest.fixture(scope="module")
def reranker(reranker_path: Path) -> LLM:
    return LLM(reranker_path)


@pytest.fixture(scope="module")
def language_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published reranker by its name, with all tokens that its prompt and its words need."""
    path = write_language_model(tmp_path_factory.mktemp("models") / "Qwen3-Reranker-0.6B", tied=True)
    text = (path / "tokenizer.json").read_text()
    (path / "tokenizer.json").write_text(text.replace('"sad"', '"no"').replace('"happy"', '"yes"'))
    tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
    tokenizer.add_special_tokens(MARKERS)
    tokenizer.save(str(path / "tokenizer.json"))
    return path


def scores(llm: LLM, *data: Any, **options: Any) -> list[float]:
    outputs = llm.score(*data, use_tqdm=False, **options)
    return [output.outputs.score for output in outputs if output.outputs is not None]


def test_a_score_is_that_of_the_pair(reranker: LLM) -> None:
    outputs = reranker.classify([(QUERY, document) for document in DOCUMENTS], use_tqdm=False)
    assert scores(reranker, QUERY, DOCUMENTS) == [out.outputs.probs[0] for out in outputs if out.outputs]
    [output] = reranker.score(QUERY, DOCUMENTS[0], use_tqdm=False)
    assert output.outputs is not None
    assert output.outputs.score == pytest.approx(1 / (1 + np.exp(-output.outputs.logit)), abs=1e-6)
    assert output.prompt_token_ids == [IDS[w] for w in "[CLS] the cat [SEP] a dog ran [SEP]".split()]
    [raw] = reranker.score(QUERY, DOCUMENTS[0], pooling_params=PoolingParams(use_activation=False), use_tqdm=False)
    assert raw.outputs is not None
    assert raw.outputs.score == raw.outputs.logit == output.outputs.logit


def test_what_is_paired(reranker: LLM) -> None:
    each = [scores(reranker, "the cat", "blue")[0], scores(reranker, "a dog", "red")[0]]
    np.testing.assert_allclose(scores(reranker, ["the cat", "a dog"], ["blue", "red"]), each, atol=1e-6)
    np.testing.assert_allclose(scores(reranker, ["the cat"], ["blue", "blue"]), [each[0]] * 2, atol=1e-6)
    forms = [{"text": "blue"}, {"content": "blue"}, {"content": [{"type": "text", "text": "blue"}]}]
    np.testing.assert_allclose(scores(reranker, {"text": "the cat"}, forms), [each[0]] * 3, atol=1e-6)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((["a", "the"], ["blue"]), "2 and 1 inputs make no pairs"),
        ((["a", "the"], ["blue"] * 3), "2 and 3 inputs make no pairs"),
        (([], ["blue"]), "data_1 is empty"),
        (("a", []), "data_2 is empty"),
        (("a", [7]), "a query or document is a string"),
        (("a", {"content": [{"type": "text"}]}), "a part of type 'text' needs a 'text'"),
        (("a", {"content": [{"type": "image_url", "image_url": {"url": "x"}}]}), "takes texts; a part is of type 'im"),
    ],
)
def test_what_is_no_pair(reranker: LLM, data: Any, message: str) -> None:
    with pytest.raises(PromptError, match=message):
        reranker.score(*data, use_tqdm=False)


def test_one_bad_document_fails_alone(reranker: LLM) -> None:
    documents = [DOCUMENTS[0], "cat " * 500, DOCUMENTS[1]]
    with pytest.raises(PromptError, match="prompt 1: the prompt has 505 tokens"):
        reranker.score(QUERY, documents, use_tqdm=False)
    first, bad, last = reranker.score(QUERY, documents, on_error="return", use_tqdm=False)
    assert bad.outputs is None
    assert first.outputs is not None
    assert last.outputs is not None
    results = reranker.rerank(QUERY, documents, on_error="return", top_n=1, use_tqdm=False)
    assert [result.index for result in results][1:] == [1]
    assert isinstance(results[1].error, PromptError)
    assert results[1].score is None


def test_ranking(reranker: LLM) -> None:
    expected = scores(reranker, QUERY, DOCUMENTS)
    results = reranker.rerank(QUERY, DOCUMENTS, use_tqdm=False)
    assert [result.index for result in results] == sorted(range(5), key=lambda i: -expected[i])
    assert [result.document for result in results] == [DOCUMENTS[result.index] for result in results]
    indices = [result.index for result in results]
    assert indices.index(0) < indices.index(3)  # of equal ones, the first
    best = reranker.rerank(QUERY, DOCUMENTS, top_n=2, return_documents=False, use_tqdm=False)
    assert best == [dataclasses.replace(result, document=None) for result in results[:2]]
    limit = sorted(expected)[2]
    above = reranker.rerank(QUERY, DOCUMENTS, score_threshold=limit, use_tqdm=False)
    assert [result.index for result in above] == [i for i in indices if expected[i] >= limit]
    with pytest.raises(ConfigError, match="top_n must be at least 1, got 0"):
        reranker.rerank(QUERY, DOCUMENTS, top_n=0)
    with pytest.raises(PromptError, match="is empty"):
        reranker.rerank(QUERY, [])
    assert reranker.rerank(QUERY, iter(DOCUMENTS), use_tqdm=False) == results  # type: ignore[arg-type]


def test_a_document_scores_the_same_alone_and_among_others(reranker: LLM, language_model: Path) -> None:
    for llm in (reranker, LLM(language_model)):
        alone = [scores(llm, QUERY, document)[0] for document in DOCUMENTS]
        np.testing.assert_allclose(scores(llm, QUERY, DOCUMENTS), alone, atol=1e-6)
        np.testing.assert_allclose(scores(llm, QUERY, DOCUMENTS[::-1]), alone[::-1], atol=1e-6)


def test_several_classes_need_a_label(bert: LLM) -> None:
    with pytest.raises(
        ConfigError, match=r"3 classes \(negative, neutral, positive\), not one score.*label='positive'"
    ):
        bert.score(QUERY, DOCUMENTS)
    [out] = bert.classify((QUERY, "blue"), use_tqdm=False)
    assert out.outputs is not None
    for number, name in enumerate(("negative", "neutral", "positive")):
        expected = pytest.approx([out.outputs.probs[number]], abs=1e-6)
        assert scores(bert, QUERY, "blue", label=name) == expected
        assert scores(bert, QUERY, "blue", label=number) == expected
    with pytest.raises(ConfigError, match="unknown label 'good'; this model has negative, neutral, positive"):
        bert.score(QUERY, DOCUMENTS, label="good")
    for label in (3, -1, True):
        with pytest.raises(ConfigError, match="no number of one of this model's 3 classes"):
            bert.score(QUERY, DOCUMENTS, label=label)


def test_limits_of_each_text(reranker: LLM) -> None:
    [out] = reranker.score("the cat sat", "a dog ran", max_tokens_per_query=2, max_tokens_per_doc=1, use_tqdm=False)
    assert out.prompt_token_ids == [IDS[w] for w in "[CLS] the cat [SEP] a [SEP]".split()]
    for options, message in [
        ({"max_tokens_per_doc": -1}, "max_tokens_per_doc must be at least 0"),
        ({"max_tokens_per_query": 160}, r"max_tokens_per_query \(160\) must be less than max_model_len \(160\)"),
    ]:
        with pytest.raises(ConfigError, match=message):
            reranker.score(QUERY, DOCUMENTS, **options)


def test_truncation_cuts_the_document_first(reranker: LLM) -> None:
    words = "[CLS] the cat sat on [SEP] a dog [SEP]".split()
    expected = {
        9: words,
        8: [*words[:7], "[SEP]"],
        7: [*words[:6], "[SEP]"],
        6: "[CLS] the cat sat [SEP] [SEP]".split(),
    }
    for limit, kept in expected.items():
        kwargs = {"truncate_prompt_tokens": limit}
        [out] = reranker.score("the cat sat on", "a dog", tokenization_kwargs=kwargs, use_tqdm=False)
        assert out.prompt_token_ids == [IDS[word] for word in kept]
    kwargs = {"truncation": "longest_first", "max_length": 7}
    [out] = reranker.score("the cat sat on", "a dog", tokenization_kwargs=kwargs, use_tqdm=False)
    assert out.prompt_token_ids == [IDS[word] for word in "[CLS] the cat [SEP] a dog [SEP]".split()]


def test_templates_of_call_constructor_and_model(language_model: Path, reranker_path: Path) -> None:
    """The call's, else the constructor's, else the one of the published reranker."""
    tokens = Tokenizer.from_file(str(language_model / "tokenizer.json"))
    llm = LLM(language_model)

    def words(llm: LLM, **options: Any) -> list[str | None]:
        [out] = llm.score("the cat", "a dog", use_tqdm=False, **options)
        return [tokens.id_to_token(i) for i in out.prompt_token_ids]

    built_in = words(llm)
    assert built_in[0] == "<|im_start|>"
    assert built_in[-2:] == ["<think>", "</think>"]
    instructed = words(llm, instruction="the the the red red")
    assert instructed.count("red") == 2
    assert instructed == words(llm, chat_template_kwargs={"instruction": "the the the red red"})
    source = "{{ messages[0].content }} very {{ messages[1].content }}"
    given = ["[CLS]", "the", "cat", "very", "a", "dog", "[SEP]"]
    assert words(llm, chat_template=source) == given
    assert words(LLM(language_model, chat_template=source)) == given
    assert words(LLM(language_model, chat_template=source), chat_template="qwen3-reranker") == built_in
    # What pairs are put into is the same for classify; a single text is a finished prompt.
    [pair], [single] = llm.classify(("the cat", "a dog"), use_tqdm=False), llm.classify("the cat", use_tqdm=False)
    assert [tokens.id_to_token(i) for i in pair.prompt_token_ids] == built_in
    assert single.prompt_token_ids == [IDS[w] for w in "[CLS] the cat [SEP]".split()]
    with pytest.raises(ConfigError, match="prompt_template and chat_template both say"):
        LLM(reranker_path, chat_template=source, prompt_template="{text} {text_pair}")
    with pytest.raises(ConfigError, match="instruction: this model joins a query and a document as its tokenizer does"):
        LLM(reranker_path).score("a", "the", instruction="find")
    with pytest.raises(ConfigError, match="chat_template is for texts"):
        LLM(reranker_path, chat_template=source, skip_tokenizer_init=True)


def test_a_renamed_conversion_keeps_its_prompt(language_model: Path, tmp_path: Path) -> None:
    """Also where config.json names another place that it came from."""
    model = tmp_path / language_model.name
    shutil.copytree(language_model, model)
    config = json.loads((model / "config.json").read_text())
    expected = scores(LLM(language_model), QUERY, DOCUMENTS)
    for number, origin in enumerate(({}, {"_name_or_path": "/somewhere/checkpoint-500"})):
        (model / "config.json").write_text(json.dumps({**config, **origin}))
        exported = export(model, tmp_path / f"out{number}")
        np.testing.assert_allclose(scores(LLM(exported), QUERY, DOCUMENTS), expected, atol=1e-6)
        # A name, and nothing of where it was.
        assert json.loads((exported / "config.json").read_text())["_name_or_path"] == language_model.name


def test_a_pair_with_nothing_between_its_texts(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, {**QWEN3, **ONE_LABEL})
    tokenizer = json.loads((path / "tokenizer.json").read_text())
    tokenizer["post_processor"] = None
    (path / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(ConfigError, match="puts nothing between the texts of a pair, so a pair needs a prompt"):
        LLM(path).score("the cat", "a dog")
    with pytest.raises(PromptError, match="puts nothing between"):
        LLM(path).classify(("the cat", "a dog"), use_tqdm=False)
    joined = "the cat a dog"
    [expected] = LLM(path).classify(joined, use_tqdm=False)
    assert expected.outputs is not None
    for options in ({"prompt_template": "{text} {text_pair}"}, {"hf_overrides": {"use_sep_token": False}}):
        second = "a dog" if "prompt_template" in options else " a dog"
        [out] = LLM(path, **options).score("the cat", second, use_tqdm=False)
        assert out.prompt_token_ids == expected.prompt_token_ids
    with pytest.raises(ConfigError, match="use_sep_token must be true or false"):
        LLM(path, hf_overrides={"use_sep_token": "no"})


def test_a_snapshot_in_the_hubs_cache_is_known_by_its_repository(language_model: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "models--Qwen--Qwen3-Reranker-0.6B" / "snapshots" / "0123abcd"
    shutil.copytree(language_model, snapshot)
    expected = scores(LLM(language_model), QUERY, DOCUMENTS)
    np.testing.assert_allclose(scores(LLM(snapshot), QUERY, DOCUMENTS), expected, atol=1e-6)
    assert describe(snapshot).problems is None


def test_zerank_divides_its_logit(tmp_path: Path) -> None:
    """Its author's score is a sigmoid of a fifth of the logit of "Yes"."""
    path = write_language_model(tmp_path / "zerank-2", tied=True)
    text = (path / "tokenizer.json").read_text()
    (path / "tokenizer.json").write_text(text.replace('"happy"', '"Yes"'))
    tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
    tokenizer.add_special_tokens(MARKERS)
    tokenizer.save(str(path / "tokenizer.json"))
    words = {"classifier_from_token": ["Yes"], "method": "no_post_processing"}
    plain = LLM(path, hf_overrides=words)
    [whole], [fifth] = plain.score(QUERY, "blue", use_tqdm=False), LLM(path).score(QUERY, "blue", use_tqdm=False)
    assert whole.outputs is not None
    assert fifth.outputs is not None
    assert fifth.outputs.logit == pytest.approx(whole.outputs.logit / 5, rel=1e-5)
    assert "of the output matrix divided by 5" in describe(path).head
    # What is converted from it scores the same.
    for write in (export, convert):
        [same] = LLM(write(path, tmp_path / write.__name__)).score(QUERY, "blue", use_tqdm=False)
        assert same.outputs is not None
        assert same.outputs.logit == pytest.approx(fifth.outputs.logit, rel=1e-5)


def test_a_head_of_zeros_is_refused(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    path = write_checkpoint(tmp_path, {**BERT, **ONE_LABEL})
    weights = tensors({**BERT, **ONE_LABEL})
    weights["classifier.weight"] = np.zeros_like(weights["classifier.weight"])
    save_file(weights, str(path / "model.safetensors"))
    with pytest.raises(CheckpointError, match=r"head\.score\.weight is all zeros, so that all texts score the same"):
        LLM(path)


def test_heads_for_tokens_score_no_pairs(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, {**BERT, "architectures": ["BertForTokenClassification"]})
    with pytest.raises(ConfigError, match="scores tokens, not texts"):
        LLM(path).score("a", "the")


def test_what_info_says_of_pairs(reranker_path: Path, language_model: Path, tmp_path: Path) -> None:
    other = write_language_model(tmp_path / "other", tied=True)
    words: Any = {"hf_overrides": {"classifier_from_token": ["cat", "dog"], "method": "from_2_way_softmax"}}
    joined: Any = {"hf_overrides": {"use_sep_token": False}}
    assert describe(reranker_path).pairs == "as the tokenizer joins them; refused if it puts nothing between"
    assert describe(reranker_path, chat_template="zerank").pairs == "chat_template"
    assert describe(reranker_path, **joined).pairs == "one text after the other (use_sep_token)"
    assert describe(language_model).pairs == "the prompt qwen3-reranker (known by the model's name)"
    assert describe(other, **words).pairs == "refused without a template"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{ messages[0].content }} and nothing else", "leaves the document out, so that it would not matter"),
        ("{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}", "leaves the query out"),
        ("{{ raise_exception('roles must alternate') }}", "as a prompt for pairs, .* roles must alternate"),
        ("{{ messages[0].content + 1 }}", "as a prompt for pairs, the chat template refuses"),
    ],
)
def test_a_template_that_shows_no_pair_is_refused(reranker: LLM, source: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        reranker.score(QUERY, DOCUMENTS, chat_template=source)


def test_async(reranker: LLM, reranker_path: Path) -> None:
    async def run() -> tuple[list[Any], list[Any]]:
        async with AsyncLLM(reranker_path) as llm:
            return await llm.score(QUERY, DOCUMENTS), await llm.rerank(QUERY, DOCUMENTS, top_n=2)

    outputs, results = asyncio.run(run())
    np.testing.assert_allclose([out.outputs.score for out in outputs], scores(reranker, QUERY, DOCUMENTS), atol=1e-6)
    expected = reranker.rerank(QUERY, DOCUMENTS, top_n=2, use_tqdm=False)
    assert [result.index for result in results] == [result.index for result in expected]

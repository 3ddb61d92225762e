"""Embedders: which checkpoints are, what a call may ask, and how misuse is refused."""

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxcls import LLM, AsyncLLM, PoolingParams
from jaxcls.embed import cosine, embed_call, maxsim, token_embed_call
from jaxcls.engine.converted import convert
from jaxcls.errors import CheckpointError, ConfigError, PromptError
from jaxcls.info import describe
from tests.modules import LINEAR, write_json, write_modules
from tests.parity.sentence import TEXTS, VOCAB, WIDTH, bert, colbert, dense
from tests.tiny import BERT, write_checkpoint


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Mean, a dense layer, Normalize, and prompts without a default."""
    folder = bert(tmp_path_factory.mktemp("embedder"))
    settings = {"prompts": {"query": "the dog "}, "default_prompt_name": None, "similarity_fn_name": "cosine"}
    return write_modules(folder, dense=[(dense(12, WIDTH, "linear.bias"), LINEAR)], settings=settings)


@pytest.fixture(scope="module")
def llm(path: Path) -> LLM:
    return LLM(path)


@pytest.fixture(scope="module")
def late(tmp_path_factory: pytest.TempPathFactory) -> LLM:
    folder = tmp_path_factory.mktemp("colbert")
    colbert(folder)
    return LLM(folder)


def vectors(llm: LLM, texts: Any, **options: Any) -> np.ndarray:
    return np.stack([out.outputs.embedding for out in llm.embed(texts, use_tqdm=False, **options) if out.outputs])


def test_embeddings_have_length_one_unless_a_request_says_so(llm: LLM) -> None:
    params = [PoolingParams(), PoolingParams(use_activation=False), PoolingParams(dimensions=5)]
    normal, plain, short = (
        out.outputs.embedding for out in llm.embed([TEXTS[0]] * 3, pooling_params=params, use_tqdm=False) if out.outputs
    )
    assert (normal.shape, short.shape, normal.dtype) == ((12,), (5,), np.float32)
    np.testing.assert_allclose([np.linalg.norm(normal), np.linalg.norm(short)], 1.0, atol=1e-6)
    assert abs(np.linalg.norm(plain) - 1) > 1e-2
    np.testing.assert_allclose(plain / np.linalg.norm(plain), normal, atol=1e-6)
    np.testing.assert_allclose(normal[:5] / np.linalg.norm(normal[:5]), short, atol=1e-6)
    np.testing.assert_array_equal(short, vectors(llm, TEXTS[0], dimensions=5)[0])


def test_encode_gives_the_same(llm: LLM) -> None:
    (pooled,) = llm.encode(TEXTS[0], pooling_task="embed", use_tqdm=False)
    (tokens,) = llm.encode(TEXTS[0], pooling_task="token_embed", use_tqdm=False)
    (same,) = llm.token_embed(TEXTS[0], use_tqdm=False)
    assert pooled.outputs is not None
    assert tokens.outputs is not None
    assert same.outputs is not None
    np.testing.assert_array_equal(pooled.outputs.data, vectors(llm, TEXTS[0])[0])
    assert tokens.outputs.data.shape == (len(tokens.prompt_token_ids), 12)
    np.testing.assert_array_equal(tokens.outputs.data, same.outputs.embeddings)
    assert same.outputs.token_ids == same.prompt_token_ids
    # A dense layer without an activation is applied to the mean, or to each: the same.
    mean = tokens.outputs.logits.mean(axis=0)
    np.testing.assert_allclose(mean / np.linalg.norm(mean), pooled.outputs.data, atol=1e-6)


def test_prompts_are_put_before_texts_and_not_before_token_ids(llm: LLM) -> None:
    (named,), (given,) = (
        llm.embed("cat sat", use_tqdm=False, **x) for x in ({"prompt_name": "query"}, {"prompt": "the dog "})
    )
    (plain,) = llm.embed("the dog cat sat", use_tqdm=False)
    assert named.prompt_token_ids == given.prompt_token_ids == plain.prompt_token_ids
    (ids,) = llm.embed([1, 9, 2], prompt_name="query", use_tqdm=False)
    assert ids.prompt_token_ids == [1, 9, 2]
    (nothing,) = llm.embed("cat sat", prompt_name="document", use_tqdm=False)
    assert nothing.prompt_token_ids == llm.embed("cat sat", use_tqdm=False)[0].prompt_token_ids


def test_async_and_streams_give_the_same(llm: LLM, path: Path, late: LLM) -> None:
    async def embed() -> list[Any]:
        async with AsyncLLM(path) as other:
            return [*await other.embed(TEXTS), *await other.token_embed(TEXTS[:1])]

    *pooled, tokens = asyncio.run(embed())
    np.testing.assert_allclose(np.stack([out.outputs.embedding for out in pooled]), vectors(llm, TEXTS), atol=1e-6)
    assert tokens.outputs.embeddings.shape[1] == 12
    streamed = [out.outputs.embedding for out in llm.stream(embed_call(llm.model), iter(TEXTS)) if out.outputs]
    np.testing.assert_array_equal(np.stack(streamed), vectors(llm, TEXTS))
    queries = list(late.stream(token_embed_call(late.model, is_query=True), iter(TEXTS)))
    assert {len(out.prompt_token_ids) for out in queries} == {12}


def test_one_text_fails_alone(llm: LLM) -> None:
    outputs = llm.embed(["the cat", "cat " * 500, ("a", "b"), "a dog"], on_error="return", use_tqdm=False)
    assert [out.outputs is None for out in outputs] == [False, True, True, False]
    assert "takes at most" in str(outputs[1].error)
    assert "not of a pair" in str(outputs[2].error)
    with pytest.raises(PromptError, match="prompt 1: the prompt has"):
        llm.embed(["the cat", "cat " * 500])
    (cut,) = llm.embed("cat " * 500, tokenization_kwargs={"truncate_prompt_tokens": -1}, use_tqdm=False)
    assert len(cut.prompt_token_ids) == 128


def test_queries_and_documents(late: LLM) -> None:
    text = "the cat sat, on a mat."
    (query,), (document,) = (late.token_embed(text, is_query=q, use_tqdm=False) for q in (True, False))
    assert [VOCAB[i] for i in query.prompt_token_ids[:3]] == ["[CLS]", "[Q] ", "the"]
    assert VOCAB[query.prompt_token_ids[-1]] == "[MASK]"
    assert query.outputs is not None
    assert document.outputs is not None
    assert query.outputs.embeddings.shape == (12, 8)
    skipped = {VOCAB.index(","), VOCAB.index(".")}
    assert document.outputs.token_ids == [i for i in document.prompt_token_ids if i not in skipped]
    assert len(document.outputs.embeddings) == len(document.prompt_token_ids) - 2
    score = maxsim(query.outputs.embeddings, document.outputs.embeddings)
    assert score == pytest.approx((query.outputs.embeddings @ document.outputs.embeddings.T).max(1).sum(), abs=1e-5)
    # Pooling data as they are: neither prefix nor expansion.
    (raw,) = late.encode("the cat", pooling_task="token_embed", use_tqdm=False)
    assert raw.prompt_token_ids == [1, VOCAB.index("the"), VOCAB.index("cat"), 2]


def test_similarities() -> None:
    assert cosine(np.array([3.0, 4.0]), np.array([30.0, 40.0])) == pytest.approx(1.0)
    assert cosine(np.array([1.0, 0.0]), np.array([0.0, 2.0])) == 0.0
    assert cosine(np.zeros(2), np.array([0.0, 2.0])) == 0.0
    assert maxsim(np.eye(2), np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 0.25]])) == 1.5


def test_a_converted_embedder_is_one(path: Path, llm: LLM, tmp_path: Path) -> None:
    copy = LLM(convert(path, tmp_path / "converted"))
    np.testing.assert_array_equal(vectors(copy, TEXTS), vectors(llm, TEXTS))


def test_what_info_says(path: Path, bert_path: Path) -> None:
    info = describe(path)
    assert (info.architecture, info.labels, info.embedding_dim, info.pooling) == ("BertModel", [], 12, "MEAN")
    assert (info.activation, info.use_activation, info.problems) == ("normalize", True, None)
    assert info.head == "24 -> 12, linear (modules.json)"
    assert describe(bert_path).embedding_dim is None


def test_base_models_embed_when_asked(path: Path, bert_path: Path, tmp_path: Path) -> None:
    plain = bert(tmp_path / "plain")
    with pytest.raises(CheckpointError, match='for embeddings, pass convert="embed"'):
        LLM(plain)
    first = LLM(plain, convert="embed")
    assert first.model.checkpoint.pooling_type == "CLS"
    hidden = first.token_embed(TEXTS[0], use_tqdm=False)[0].outputs
    assert hidden is not None
    np.testing.assert_allclose(hidden.embeddings[0], vectors(first, TEXTS[0])[0], atol=1e-6)
    # A classifier's hidden states, its head left unread; and an embedder's, as a classifier's.
    assert vectors(LLM(bert_path, convert="embed"), "the cat").shape == (1, 24)
    assert LLM(path, head_init="zeros").model.checkpoint.tasks[0] == "classify"
    assert LLM(path, pooler_config={"pooling_type": "CLS"}).model.checkpoint.pooling_type == "CLS"


def test_a_token_classifier_embeds_if_its_tokens_are_pooled(tmp_path: Path) -> None:
    """Alibaba-NLP/gte-multilingual-base is published as one."""
    config = {**BERT, "architectures": ["BertForTokenClassification"]}
    path = write_checkpoint(tmp_path / "tokens", config)
    assert LLM(path).model.checkpoint.tasks == ("token_classify",)
    assert LLM(path, convert="embed").model.checkpoint.pooling_type == "CLS"
    llm = LLM(write_modules(path))
    assert (llm.model.checkpoint.pooling_type, llm.model.checkpoint.tasks[0]) == ("MEAN", "embed")
    assert vectors(llm, "the cat").shape == (1, 24)


def test_the_other_task_is_refused(llm: LLM, late: LLM, bert: LLM) -> None:
    for ask in (llm.classify, llm.reward, llm.token_classify, lambda text: llm.zero_shot(text, ["a", "b"])):
        with pytest.raises(ConfigError, match=r"BertModel is loaded as an embedder \(modules.json\): use LLM.embed"):
            ask("the cat")
    for ask in (bert.embed, bert.token_embed, lambda text: bert.encode(text, pooling_task="embed")):
        with pytest.raises(ConfigError, match="is loaded as a classifier: for embeddings"):
            ask("the cat")
    with pytest.raises(ConfigError, match="embeds tokens, not texts: use LLM"):
        late.embed("the cat")
    with pytest.raises(ConfigError, match="say is_query=True or False"):
        late.token_embed("the cat")
    with pytest.raises(ConfigError, match="knows no is_query"):
        llm.token_embed("the cat", is_query=True)
    with pytest.raises(PromptError, match="queries and documents are texts"):
        late.token_embed([1, 5, 2], is_query=True)
    with pytest.raises(ConfigError, match="leave truncation out"):
        late.token_embed("the cat", is_query=True, tokenization_kwargs={"truncation": True})
    with pytest.raises(ConfigError, match="leave truncate_prompt_tokens out"):
        late.token_embed("the cat", is_query=True, pooling_params=PoolingParams(truncate_prompt_tokens=3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dimensions": 13}, "dimensions = 13, but BertModel has 12"),
        ({"dimensions": 0}, "dimensions"),
        ({"dimensions": 3, "pooling_params": PoolingParams(dimensions=3)}, "both to the call and in pooling_params"),
        ({"prompt_name": "passage"}, "prompt_name = 'passage': this checkpoint has document, query"),
        ({"prompt_name": "query", "prompt": "a"}, "give one of them"),
        ({"pooling_params": [PoolingParams()] * 2}, "1 prompts but 2 pooling_params"),
    ],
)
def test_arguments_that_make_no_sense(llm: LLM, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        llm.embed("the cat", use_tqdm=False, **options)


def test_dimensions_of_a_classifier_are_refused(bert: LLM) -> None:
    with pytest.raises(ConfigError, match="classifiers have none"):
        bert.classify("the cat", pooling_params=PoolingParams(dimensions=2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"convert": "embed", "head_init": "zeros"}, "convert='embed' is for embeddings, head_init for scores"),
        ({"pooler_config": {"logit_mean": 1.0}}, "calibrate scores"),
        ({"pooler_config": {"pooling_type": "ALL"}}, "'token_embed'"),
        ({"pooler_config": {"pooling_type": "STEP", "step_tag_id": 3}}, "not trained on steps"),
    ],
)
def test_options_that_embedders_do_not_have(path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LLM(path, **options)


def _edit(file: Path, **changes: Any) -> None:
    write_json(file, {**(json.loads(file.read_text()) if file.exists() else {}), **changes})


def test_newer_files(tmp_path: Path) -> None:
    """As sentence-transformers 6 writes them: classes have moved, and the tokenizer says how long texts are."""
    write_modules(bert(tmp_path), pooling="lasttoken")
    modules = json.loads((tmp_path / "modules.json").read_text())
    places = ("base.modules.transformer", "sentence_transformer.modules.pooling", "base.modules.normalize")
    kinds = [module["type"].rsplit(".")[-1] for module in modules]
    types = [f"sentence_transformers.{place}.{kind}" for place, kind in zip(places, kinds, strict=True)]
    write_json(tmp_path / "modules.json", [{**m, "type": kind} for m, kind in zip(modules, types, strict=True)])
    write_json(tmp_path / "1_Pooling" / "config.json", {"embedding_dimension": 24, "pooling_mode": "lasttoken"})
    outputs = {"text": {"method": "forward", "method_output_name": "last_hidden_state"}}
    settings = {"transformer_task": "feature-extraction", "module_output_name": "token_embeddings"}
    write_json(tmp_path / "sentence_bert_config.json", {**settings, "modality_config": outputs})
    checkpoint = LLM(tmp_path).model.checkpoint
    assert (checkpoint.pooling_type, checkpoint.max_len) == ("LAST", 128)
    assert checkpoint.max_len_reason == "model_max_length of tokenizer_config.json"


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("1_Pooling/config.json", {"pooling_mode_max_tokens": True}, "mean_tokens\\+max_tokens' is not supported"),
        ("1_Pooling/config.json", {"pooling_mode": "weightedmean"}, "'weightedmean' is not supported"),
        ("1_Pooling/config.json", {"pooling_heads": 2}, "pooling_heads is not supported"),
        (
            "2_Dense/config.json",
            {"activation_function": "evil.Code"},
            "activation_function = 'evil.Code' is not one of",
        ),
        ("2_Dense/config.json", {"module_input_name": "token_embeddings"}, "must be 'sentence_embedding'"),
        ("2_Dense/config.json", {"in_features": None}, "must be sizes"),
        ("2_Dense/config.json", {"rank": 3}, "rank is not supported"),
        ("sentence_bert_config.json", {"query_length": 8}, "query_length = 8 is not supported"),
        ("sentence_bert_config.json", {"transformer_task": "fill-mask"}, "'fill-mask' is not supported"),
        ("config_sentence_transformers.json", {"prompts": ["a"]}, "prompts must map names to texts"),
        ("config_sentence_transformers.json", {"default_prompt_name": "b"}, "default_prompt_name = 'b' is not one of"),
    ],
)
def test_modules_that_cannot_be_honoured(file: str, changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    write_modules(bert(tmp_path), dense=[(dense(12, WIDTH), LINEAR)], settings={"prompts": {"a": "b"}})
    _edit(tmp_path / file, **changes)
    with pytest.raises(ConfigError, match=message):
        LLM(tmp_path)


def test_orders_and_kinds_of_modules_that_are_not_known(tmp_path: Path) -> None:
    write_modules(bert(tmp_path), dense=[(dense(12, WIDTH), LINEAR)])
    modules = json.loads((tmp_path / "modules.json").read_text())
    write_json(tmp_path / "modules.json", [*modules[:2], modules[3], modules[2]])
    with pytest.raises(ConfigError, match="Transformer -> Pooling -> Normalize -> Dense is not supported"):
        LLM(tmp_path)
    write_json(tmp_path / "modules.json", [*modules, {**modules[3], "type": "custom_st.Scale"}])
    with pytest.raises(ConfigError, match=r"module 'custom_st.Scale' is not supported"):
        LLM(tmp_path)
    write_json(tmp_path / "modules.json", modules)
    (tmp_path / "2_Dense" / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="2_Dense"):
        LLM(tmp_path)


def test_a_prompt_that_the_mean_leaves_out_is_refused(tmp_path: Path) -> None:
    write_modules(bert(tmp_path), settings={"prompts": {"a": "the "}, "default_prompt_name": "a"})
    _edit(tmp_path / "1_Pooling" / "config.json", include_prompt=False)
    llm = LLM(tmp_path)
    with pytest.raises(ConfigError, match="include_prompt is false"):
        llm.embed("cat")
    assert vectors(llm, "cat", prompt="").shape == (1, 24)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"query_length": "long"}, "query_length = 'long' cannot be honoured"),
        ({"document_length": 500}, "texts of 500 tokens, but positions for 160"),
        ({"skiplist_words": "!?"}, "skiplist_words = '!\\?' cannot be honoured"),
    ],
)
def test_settings_of_late_interaction(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    colbert(tmp_path, **settings)
    with pytest.raises(ConfigError, match=message):
        LLM(tmp_path)


def test_tokens_that_the_tokenizer_lacks(tmp_path: Path) -> None:
    colbert(tmp_path, query_prefix="[Query]")
    with pytest.raises(ConfigError, match=r"token '\[Query\]' is not in the vocabulary"):
        LLM(tmp_path).token_embed("the cat", is_query=True)


def test_scores_are_those_of_the_embeddings(llm: LLM, tmp_path: Path) -> None:
    """The query is embedded with the checkpoint's prompt for queries, the document without one."""
    documents = list(TEXTS[1:4])
    query = vectors(llm, TEXTS[0], prompt_name="query")[0]
    expected = [cosine(query, vector) for vector in vectors(llm, documents)]
    outputs = llm.score(TEXTS[0], documents, use_tqdm=False)
    np.testing.assert_allclose([out.outputs.score for out in outputs if out.outputs], expected, atol=1e-6)
    best = llm.rerank(TEXTS[0], documents, top_n=1, use_tqdm=False)[0]
    assert best.index == int(np.argmax(expected))
    with pytest.raises(ConfigError, match="instruction, max_tokens_per_doc: this model embeds the query and the docum"):
        llm.score(TEXTS[0], documents, instruction="find", max_tokens_per_doc=3)
    with pytest.raises(ConfigError, match="label: this model embeds"):
        llm.score(TEXTS[0], documents, label=0)
    for name, function in {
        "dot": lambda a, b: a @ b,
        "euclidean": lambda a, b: -np.linalg.norm(a - b),
        "manhattan": lambda a, b: -np.abs(a - b).sum(),
    }.items():
        settings = {"similarity_fn_name": name}
        folder = write_modules(bert(tmp_path / name), normalize=False, settings=settings)
        other = LLM(folder)
        a, b = vectors(other, [TEXTS[0], TEXTS[1]])
        (out,) = other.score(TEXTS[0], TEXTS[1], use_tqdm=False)
        assert out.outputs is not None
        assert out.outputs.score == pytest.approx(function(a, b), abs=1e-4)
    unknown = write_modules(bert(tmp_path / "unknown"), settings={"similarity_fn_name": "hamming"})
    with pytest.raises(ConfigError, match="similarity_fn_name = 'hamming'"):
        LLM(unknown).score(TEXTS[0], TEXTS[1])


def test_late_interaction_scores(late: LLM) -> None:
    documents = list(TEXTS[1:4])
    (query,) = late.token_embed(TEXTS[0], is_query=True, use_tqdm=False)
    found = late.token_embed(documents, is_query=False, use_tqdm=False)
    assert query.outputs is not None
    expected = [maxsim(query.outputs.embeddings, out.outputs.embeddings) for out in found if out.outputs]
    outputs = late.score(TEXTS[0], documents, use_tqdm=False)
    np.testing.assert_allclose([out.outputs.score for out in outputs if out.outputs], expected, atol=1e-4)


def test_a_query_beside_many_documents_is_embedded_once(llm: LLM, path: Path, late: LLM) -> None:
    documents = [*TEXTS[1:4], TEXTS[1]]
    for model in (llm, late):
        apart = [model.score(TEXTS[0], document, use_tqdm=False)[0].outputs for document in documents]
        before = model.stats.prompts
        outputs = model.score(TEXTS[0], documents, use_tqdm=False)
        assert model.stats.prompts - before == 1 + 3
        expected = [output.score for output in apart if output]
        np.testing.assert_allclose([out.outputs.score for out in outputs if out.outputs], expected, atol=1e-5)

    async def run() -> tuple[list[Any], int]:
        async with AsyncLLM(path) as model:
            return await model.score(TEXTS[0], documents), model.stats.prompts

    outputs, computed = asyncio.run(run())
    assert computed == 1 + 3
    expected = [out.outputs.score for out in llm.score(TEXTS[0], documents, use_tqdm=False) if out.outputs]
    np.testing.assert_allclose([out.outputs.score for out in outputs], expected, atol=1e-5)

"""LLM.classify and LLM.encode: forms, order, options, errors."""

import random
from pathlib import Path

import numpy as np
import pytest

from jaxcls import LLM, PoolerConfig, PoolingParams
from jaxcls.errors import ConfigError, NonFiniteError, PromptError
from jaxcls.outputs import ClassificationRequestOutput
from tests.tiny import BERT, QWEN3, WORDS, tensors, write_checkpoint


def texts(count: int, longest: int = 100, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(1, longest))) for _ in range(count)]


def logits(outputs: list[ClassificationRequestOutput]) -> np.ndarray:
    return np.array([out.outputs.logits for out in outputs if out.outputs is not None])


def test_one_line(bert: LLM) -> None:
    (out,) = bert.classify("the happy cat")
    assert out.outputs is not None
    assert out.outputs.num_classes == 3
    assert sum(out.outputs.probs) == pytest.approx(1)
    assert out.outputs.label == ["negative", "neutral", "positive"][int(np.argmax(out.outputs.probs))]
    assert out.prompt_token_ids[0] == 1
    assert out.prompt_token_ids[-1] == 2
    assert out.finished
    assert out.error is None


@pytest.mark.parametrize("model", ["bert", "qwen"])
def test_a_row_depends_neither_on_its_batch_nor_on_the_order(model: str, request: pytest.FixtureRequest) -> None:
    llm: LLM = request.getfixturevalue(model)
    prompts = texts(70)
    alone = np.concatenate([logits(llm.classify(prompt)) for prompt in prompts])
    order = list(range(len(prompts)))
    for seed in range(3):
        random.Random(seed).shuffle(order)
        together = logits(llm.classify([prompts[i] for i in order]))
        np.testing.assert_allclose(together, alone[order], atol=1e-5, rtol=0)


def test_bucket_shapes_do_not_change_a_row(qwen_path: Path, qwen: LLM) -> None:
    prompts = texts(40)
    expected = logits(qwen.classify(prompts))
    for tokens, seqs in ((16, 1), (300, 7), (4096, 256)):
        llm = LLM(qwen_path, max_num_batched_tokens=tokens, max_num_seqs=seqs)
        np.testing.assert_allclose(logits(llm.classify(prompts)), expected, atol=1e-5, rtol=0)


def test_all_prompt_forms_agree(bert: LLM) -> None:
    ids = bert.classify("the cat sat")[0].prompt_token_ids
    forms = ["the cat sat", ids, {"prompt": "the cat sat"}, {"prompt_token_ids": ids}, {"text": "the cat sat"}]
    rows = logits(bert.classify(forms))
    assert np.ptp(rows, axis=0).max() < 1e-5


def test_pairs_have_their_own_token_types(bert: LLM) -> None:
    pair, as_dict, one_text = bert.classify(
        [("the cat", "a dog"), {"text": "the cat", "text_pair": "a dog"}, "the cat [SEP] a dog"]
    )
    assert pair.prompt_token_ids == one_text.prompt_token_ids == as_dict.prompt_token_ids
    assert pair.outputs is not None
    assert as_dict.outputs is not None
    assert one_text.outputs is not None
    np.testing.assert_allclose(pair.outputs.logits, as_dict.outputs.logits, atol=1e-6)
    assert np.abs(np.subtract(pair.outputs.logits, one_text.outputs.logits)).max() > 1e-3
    by_hand = {"prompt_token_ids": pair.prompt_token_ids, "token_type_ids": [0, 0, 0, 0, 1, 1, 1]}
    np.testing.assert_allclose(logits(bert.classify(by_hand))[0], pair.outputs.logits, atol=1e-6)


def test_use_activation_of_one_request_does_not_touch_another(bert: LLM) -> None:
    prompts = texts(6)
    wanted = [True, False, False, True, False, True]
    params = [PoolingParams(use_activation=flag) for flag in wanted]
    outputs = bert.classify(prompts, pooling_params=params)
    for out, flag in zip(outputs, wanted, strict=True):
        assert out.outputs is not None
        if flag:
            assert sum(out.outputs.probs) == pytest.approx(1)
        else:
            assert out.outputs.probs == out.outputs.logits
    with pytest.raises(ConfigError, match="6 prompts but 2 pooling_params"):
        bert.classify(prompts, pooling_params=params[:2])


def test_calibration_and_default_activation(bert_path: Path, bert: LLM) -> None:
    raw = logits(bert.classify("the cat"))
    llm = LLM(bert_path, pooler_config=PoolerConfig(logit_mean=0.5, logit_sigma=2.0, use_activation=False))
    (out,) = llm.classify("the cat")
    assert out.outputs is not None
    np.testing.assert_allclose(out.outputs.logits, (raw[0] - 0.5) / 2, atol=1e-6)
    assert out.outputs.probs == out.outputs.logits
    same = LLM(bert_path, pooler_config={"logit_bias": 0.5, "logit_scale": 0.5})
    np.testing.assert_allclose(logits(same.classify("the cat"))[0], out.outputs.logits, atol=1e-6)


def test_pooling_type_override_changes_what_is_pooled(qwen_path: Path) -> None:
    rows = [
        logits(LLM(qwen_path, pooler_config={"pooling_type": t}).classify("the cat sat"))[0] for t in ("CLS", "LAST")
    ]
    assert np.abs(rows[0] - rows[1]).max() > 1e-3


def test_labels_follow_the_problem_type(bert_path: Path) -> None:
    multi = LLM(bert_path, hf_overrides={"problem_type": "multi_label_classification"})
    (out,) = multi.classify("the cat")
    assert out.outputs is not None
    np.testing.assert_allclose(out.outputs.probs, 1 / (1 + np.exp(-np.array(out.outputs.logits))), atol=1e-6)
    assert out.outputs.label is None
    assert [s.label for s in out.outputs.labels(threshold=0.0)] == sorted(
        multi.model.checkpoint.labels.names, key=lambda n: -out.outputs.probs[multi.model.checkpoint.labels.index(n)]
    )
    regression = LLM(bert_path, hf_overrides={"problem_type": "regression"})
    (out,) = regression.classify("the cat")
    assert out.outputs is not None
    assert out.outputs.probs == out.outputs.logits
    assert out.outputs.label is None


def test_encode(bert: LLM) -> None:
    (row,) = bert.encode("the cat sat", pooling_task="classify")
    (tokens,) = bert.encode("the cat sat", pooling_task="token_classify")
    assert row.outputs is not None
    assert tokens.outputs is not None
    assert row.outputs.data.shape == (3,)
    assert tokens.outputs.data.shape == (5, 3)
    assert tokens.outputs.data.dtype == np.float32
    np.testing.assert_allclose(tokens.outputs.data.sum(axis=1), 1, atol=1e-6)
    many = bert.encode(texts(9), pooling_task="token_classify")
    assert [len(out.outputs.data) for out in many if out.outputs] == [len(out.prompt_token_ids) for out in many]


@pytest.mark.parametrize(
    ("task", "message"),
    [(None, "needs pooling_task"), ("score", "use `classify` instead"), ("plugin", "unsupported task 'plugin'")],
)
def test_encode_refuses_other_tasks(bert: LLM, task: str | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        bert.encode("x", pooling_task=task)  # type: ignore[arg-type]


def test_a_failing_prompt_raises_with_its_index_or_comes_back_as_an_error(bert: LLM) -> None:
    prompts = ["the cat", [1, 5, 2], [1, 99999], "the " * 500, "the dog"]
    with pytest.raises(PromptError, match="prompt 2: token id 99999") as caught:
        bert.classify(prompts)
    assert caught.value.index == 2
    outputs = bert.classify(prompts, on_error="return")
    assert [out.error is None for out in outputs] == [True, True, False, False, True]
    assert outputs[2].outputs is None
    assert "at most 160" in str(outputs[3].error)
    np.testing.assert_allclose(logits([outputs[4]]), logits(bert.classify("the dog")), atol=1e-6)
    with pytest.raises(ConfigError, match="on_error"):
        bert.classify("x", on_error="ignore")  # type: ignore[arg-type]


def test_nan_logits_are_an_error_of_their_prompt_only(tmp_path: Path) -> None:
    # Finite weights whose scores overflow for one word: its embedding makes the score's product infinite.
    weights = tensors(QWEN3)
    weights["score.weight"][:] = 3e38
    path = write_checkpoint(tmp_path, QWEN3)
    from safetensors.numpy import save_file

    save_file(weights, str(path / "model.safetensors"))
    llm = LLM(path)
    with pytest.raises(NonFiniteError, match=r"prompt 0: the model gave .*float32"):
        llm.classify("the cat")
    (out,) = llm.classify("the cat", on_error="return")
    assert out.outputs is None
    assert isinstance(out.error, NonFiniteError)


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ([], "the list is empty"),
        ([[]], "no tokens"),
        ("", None),
        ([[1, -1]], "token id -1 is out of range"),
        ([("a", "b", "c")], "pair of two strings"),
        ([{"messages": []}], "a dict with keys"),
        ([3.5], "a prompt is a string"),
        ([{"prompt_token_ids": [1, 2], "token_type_ids": [0]}], "2 prompt_token_ids but 1 token_type_ids"),
        ([{"prompt_token_ids": [1, 2], "token_type_ids": [0, 2]}], "token_type_ids must be below 2"),
    ],
)
def test_bad_prompts(bert: LLM, prompts: object, message: str | None) -> None:
    if message is None:  # [CLS] [SEP] is a prompt
        assert bert.classify(prompts)[0].prompt_token_ids == [1, 2]  # type: ignore[arg-type]
        return
    with pytest.raises(PromptError, match=message):
        bert.classify(prompts)  # type: ignore[arg-type]


def test_truncation(bert: LLM) -> None:
    long = " ".join(WORDS * 20)
    (out,) = bert.classify(long, tokenization_kwargs={"truncate_prompt_tokens": -1})
    assert len(out.prompt_token_ids) == 160
    assert (out.prompt_token_ids[0], out.prompt_token_ids[-1]) == (1, 2)
    (left,) = bert.classify(long, tokenization_kwargs={"truncate_prompt_tokens": 5, "truncation_side": "left"})
    assert (left.prompt_token_ids[0], left.prompt_token_ids[-1], len(left.prompt_token_ids)) == (1, 2, 5)
    (mine,) = bert.classify(long, pooling_params=PoolingParams(truncate_prompt_tokens=7))
    assert len(mine.prompt_token_ids) == 7
    with pytest.raises(ConfigError, match="cannot be greater than max_model_len = 160"):
        bert.classify(long, tokenization_kwargs={"truncate_prompt_tokens": 161})


def test_stream_reads_ahead_only_so_far_and_keeps_order(bert: LLM) -> None:
    read = 0

    def prompts():
        nonlocal read
        for text in texts(10_000, longest=4):
            read += 1
            yield text

    stream = bert.classify_stream(prompts())
    first = next(stream)
    assert read <= 2 * 4096
    assert [int(out.request_id) for out in stream] == list(range(1, 10_000))
    assert first.request_id == "0"


def test_stats_and_warmup(bert_path: Path) -> None:
    llm = LLM(bert_path)
    llm.warmup(use_tqdm=False)
    compiled = llm.stats.compiles
    assert compiled == len(llm.model.ladder.buckets)
    outputs = llm.classify(texts(50))
    assert llm.stats.compiles == compiled
    assert llm.stats.prompts == 50
    assert llm.stats.tokens_given == sum(len(out.prompt_token_ids) for out in outputs)
    assert llm.stats.tokens_padded == llm.stats.tokens_computed - llm.stats.tokens_given
    assert llm.stats.steps > 1


def test_without_a_tokenizer_only_token_ids(bert_path: Path) -> None:
    llm = LLM(bert_path, skip_tokenizer_init=True)
    assert llm.classify([1, 5, 2])[0].outputs is not None
    with pytest.raises(ConfigError, match="give token ids"):
        llm.classify("the cat")


def test_bfloat16_agrees_with_float32(bert_path: Path, bert: LLM) -> None:
    prompts = texts(30)
    half = LLM(bert_path, dtype="bfloat16")
    np.testing.assert_allclose(logits(half.classify(prompts)), logits(bert.classify(prompts)), atol=0.1)
    assert half.model.runner.state["layers"][0]["attn"]["q"]["weight"].get_value().dtype == "bfloat16"


def test_calls_from_several_threads_do_not_mix(bert: LLM) -> None:
    from concurrent.futures import ThreadPoolExecutor

    batches = [texts(30, seed=seed) for seed in range(4)]
    expected = [logits(bert.classify(batch)) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda batch: logits(bert.classify(batch)), batches))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_dummy_weights_need_no_files(tmp_path: Path) -> None:
    import json

    (tmp_path / "config.json").write_text(json.dumps(BERT))
    options = {"load_format": "dummy", "skip_tokenizer_init": True}
    rows = [logits(LLM(tmp_path, seed=seed, **options).classify([1, 2])) for seed in (0, 0, 1)]  # type: ignore[arg-type]
    np.testing.assert_array_equal(rows[0], rows[1])
    assert np.abs(rows[0] - rows[2]).max() > 1e-3


def test_progress_bar_of_the_callers_making(bert: LLM) -> None:
    made = []

    def bar(items, **settings):
        made.append(settings)
        return items

    assert len(bert.classify(texts(5), use_tqdm=bar)) == 5
    assert made == [{"total": 5, "desc": "Processed prompts", "unit": "prompt"}]


def test_gradients_flow_through_a_loaded_model(bert: LLM) -> None:
    import jax
    from flax import nnx

    from jaxcls.engine.batch import build_batch
    from jaxcls.engine.request import Request
    from jaxcls.engine.scheduler import Scheduler
    from jaxcls.inputs.prompt import TokensPrompt

    scheduler = Scheduler(bert.model.ladder)
    scheduler.add(Request(0, TokensPrompt([1, 5, 6, 2]), True))
    plan = scheduler.next_step()
    assert plan is not None
    batch = jax.device_put(build_batch(plan))

    def loss(state):
        model = nnx.merge(bert.model.runner.graphdef, state)
        return bert.model.checkpoint.pooler("classify")(model(batch), batch, model.head).logits[0, 0]

    gradients = jax.tree.leaves(jax.grad(loss)(bert.model.runner.state))
    assert all(np.isfinite(g).all() for g in gradients)
    assert sum(float(np.abs(g).max()) > 0 for g in gradients) > len(gradients) / 2

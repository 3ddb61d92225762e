"""Rewards: raw logits, conversations, best of N, and steps."""

import json
from pathlib import Path

import pytest

from jaxcls import LLM
from jaxcls.errors import ConfigError, PromptError
from tests.api.test_words import IDS, write_language_model
from tests.parity.store import GOLDENS, read_golden
from tests.parity.store import write_checkpoint as write_golden
from tests.tiny import QWEN3, word_tokenizer, write_checkpoint

ONE = {"id2label": {"0": "reward"}}
TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system here') }}{% endif %}"
    "{{ '[CLS] ' if loop.first }}{{ 'the' if m.role == 'user' else 'but' }} {{ m.content }} [SEP]\n{% endfor %}"
)
QUESTION, ANSWERS = "a red cat", ["very happy", "not sad", "slow"]


@pytest.fixture(scope="module")
def rewarder(tmp_path_factory: pytest.TempPathFactory) -> LLM:
    path = write_checkpoint(tmp_path_factory.mktemp("rm"), {**QWEN3, **ONE})
    (path / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    return LLM(path)


def conversation(answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": answer}]


def test_rewards_are_logits(rewarder: LLM) -> None:
    (out,), (scored,) = rewarder.reward("the cat", use_tqdm=False), rewarder.classify("the cat", use_tqdm=False)
    assert out.outputs is not None
    assert scored.outputs is not None
    assert [out.outputs.reward] == scored.outputs.logits
    (activated,) = rewarder.reward("the cat", use_activation=True, use_tqdm=False)
    assert activated.outputs is not None
    assert [activated.outputs.reward] == scored.outputs.probs
    with pytest.raises(ValueError, match="rewards the whole"):
        _ = out.outputs.steps


def test_conversations_are_rendered_and_tokenised_as_they_are(rewarder: LLM) -> None:
    outputs = rewarder.reward([conversation(answer) for answer in ANSWERS], use_tqdm=False)
    words = f"[CLS] the {QUESTION} [SEP] but {ANSWERS[0]} [SEP]".split()
    assert outputs[0].prompt_token_ids == [IDS[word] for word in words]
    (alone,) = rewarder.reward(conversation(ANSWERS[1]), use_tqdm=False)
    assert alone.prompt_token_ids == outputs[1].prompt_token_ids
    best = rewarder.reward(QUESTION, ANSWERS, use_tqdm=False)
    again = rewarder.reward([{"role": "user", "content": QUESTION}], responses=ANSWERS, use_tqdm=False)
    rewards = [[out.outputs.reward for out in row if out.outputs] for row in (outputs, best, again)]
    assert rewards[0] == rewards[1] == rewards[2]
    assert len(set(rewards[0])) == 3


def test_a_model_without_chat_template_gets_pairs(bert_path: Path) -> None:
    llm = LLM(bert_path)
    (out,) = llm.reward(QUESTION, ANSWERS[:1], use_tqdm=False)
    (pair,) = llm.classify((QUESTION, ANSWERS[0]), use_tqdm=False)
    assert out.prompt_token_ids == pair.prompt_token_ids
    with pytest.raises(PromptError, match="no chat template: give one question and one answer"):
        llm.reward([*conversation("very"), {"role": "user", "content": "but"}])
    assert out.outputs is not None
    with pytest.raises(ValueError, match=r"rewards of shape \(3,\), not one"):
        _ = out.outputs.reward


def test_step_rewards_of_a_language_model(tmp_path: Path) -> None:
    """Math-Shepherd's recipe: at each tag, a softmax over the logits of "good" and "bad"."""
    path = write_language_model(tmp_path / "prm", tied=False)
    tag, good, bad = IDS["and"], IDS["happy"], IDS["sad"]
    pooler = {"pooling_type": "STEP", "step_tag_id": tag, "returned_token_ids": [good, bad]}
    llm = LLM(path, pooler_config=pooler)
    text = "the cat and a dog sat and ran"
    (out,) = llm.reward(text, use_tqdm=False)
    assert out.outputs is not None
    positions = [i for i, token in enumerate(out.prompt_token_ids) if token == tag]
    assert len(out.outputs.steps) == len(positions) == 2
    # The same words as an ordinary classifier that reads the text up to each tag.
    words = LLM(path, labels={"good": "happy", "bad": "sad"})
    for step, position in zip(out.outputs.steps, positions, strict=True):
        (prefix,) = words.classify([out.prompt_token_ids[: position + 1]], use_tqdm=False)
        assert prefix.outputs is not None
        assert step == pytest.approx(prefix.outputs.probs[0], abs=1e-6)
    (raw,) = llm.encode(text, pooling_task="token_classify", use_tqdm=False)
    assert raw.outputs is not None
    assert raw.outputs.data[:, 0].tolist() == out.outputs.steps
    with pytest.raises(ValueError, match="not one: see data, or steps"):
        _ = out.outputs.reward


def test_misuse(rewarder: LLM, qwen_path: Path) -> None:
    with pytest.raises(PromptError, match="refuses this conversation: no system here"):
        rewarder.reward([{"role": "system", "content": "very"}])
    with pytest.raises(PromptError, match="responses belong to one prompt"):
        rewarder.reward(["a", "b"], ["very"])
    with pytest.raises(PromptError, match="responses must be a list of strings"):
        rewarder.reward("a", "very")
    with pytest.raises(PromptError, match="needs a 'role' and a 'content'"):
        rewarder.reward([{"role": "user"}])
    with pytest.raises(ConfigError, match="was not trained on steps"):
        LLM(qwen_path, pooler_config={"pooling_type": "STEP", "step_tag_id": 3})
    with pytest.raises(ConfigError, match="scores texts; for its scores at ALL tokens"):
        LLM(qwen_path, pooler_config={"pooling_type": "ALL"})
    with pytest.raises(ConfigError, match="belong to pooling_type='STEP'"):
        LLM(qwen_path, pooler_config={"step_tag_id": 3})


def test_a_process_reward_model_scores_its_own_steps(tmp_path: Path) -> None:
    config = {**QWEN3, "model_type": "qwen2", "architectures": ["Qwen2ForProcessRewardModel"]}
    path = write_checkpoint(tmp_path / "prm", {**config, "head_dim": None})
    text, tag = "the cat and a dog sat and ran", IDS["and"]
    llm = LLM(path, pooler_config={"step_tag_id": tag, "pooling_type": "STEP"})
    (out,) = llm.reward(text, use_tqdm=False)
    (every,) = LLM(path, pooler_config={"pooling_type": "ALL"}).encode(text, pooling_task="token_classify")
    assert out.outputs is not None
    assert every.outputs is not None
    positions = [i for i, token in enumerate(out.prompt_token_ids) if token == tag]
    # The second of the two classes says that a step is right.
    assert out.outputs.steps == pytest.approx(every.outputs.data[positions, 1].tolist(), abs=1e-6)
    with pytest.raises(PromptError, match="no token of this prompt ends a step of reasoning: there is no 151651"):
        LLM(path).reward(text, use_tqdm=False)
    with pytest.raises(ConfigError, match="scores tokens, not texts"):
        llm.classify(text)


def test_a_conversation_that_fails_fails_alone(rewarder: LLM) -> None:
    system = [{"role": "system", "content": "very"}]
    outputs = rewarder.reward([conversation("very"), system, conversation("but")], on_error="return", use_tqdm=False)
    assert [out.error is None for out in outputs] == [True, False, True]
    with pytest.raises(PromptError, match="prompt 1: the chat template refuses"):
        rewarder.reward([conversation("very"), system])


def test_the_token_that_is_scored_ends_every_text(tmp_path: Path) -> None:
    """InternLM2's reward token: in texts and conversations, after truncation, and once."""
    token = IDS["[UNK]"]
    golden = read_golden(GOLDENS / "internlm2-rm-base.json")
    write_golden({**golden.case.config, "reward_token_id": token}, golden.shapes, 0, tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    word_tokenizer().save(str(tmp_path / "tokenizer.json"))
    llm = LLM(tmp_path)
    texts = ["the cat sat", "the cat " * 100]
    for out in llm.reward(texts, tokenization_kwargs={"truncate_prompt_tokens": 9}, use_tqdm=False):
        assert out.prompt_token_ids[-2:] == [IDS["[SEP]"], token]
        assert len(out.prompt_token_ids) <= 9
    (out,) = llm.reward([conversation("very")], use_tqdm=False)
    assert out.prompt_token_ids[-2:] == [IDS["[SEP]"], token]
    (same,) = llm.reward([out.prompt_token_ids], use_tqdm=False)
    assert same.outputs is not None
    assert out.outputs is not None
    assert same.outputs.reward == pytest.approx(out.outputs.reward, abs=1e-6)
    (without,) = llm.reward([out.prompt_token_ids[:-1]], use_tqdm=False)  # token ids are taken as they are
    assert without.outputs is not None
    assert abs(without.outputs.reward - out.outputs.reward) > 1e-4


def test_the_chat_template_belongs_to_the_tokenizer(rewarder: LLM, tmp_path: Path) -> None:
    bare = write_checkpoint(tmp_path / "bare", {**QWEN3, **ONE})
    llm = LLM(bare, tokenizer=rewarder.model.checkpoint.path)
    (theirs,), (ours,) = (x.reward([conversation("very")], use_tqdm=False) for x in (rewarder, llm))
    assert theirs.prompt_token_ids == ours.prompt_token_ids

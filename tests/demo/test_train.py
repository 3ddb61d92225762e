"""The training script: packing, gradients through the packed model, and the checkpoint it writes."""

import random

import jax
import numpy as np
import pytest
from demo_card import Row
from demo_card import evaluate as evaluate_llm
from flax import nnx
from jax import numpy as jnp
from train_demo import MAX_LEN, augment, encode, hf_config, mean_loss, pack, reindent, save, train_tokenizer

from jaxcls import LLM
from jaxcls.config.hf import HfView
from jaxcls.models.bert import ARCHITECTURE

LABELS = ("C", "Python", "Shell")
TEXTS = ["int main(void) {\n    return 0;\n}", "def f(x):\n    return x", "for f in *; do\n  echo $f\ndone"]


@pytest.fixture(scope="module")
def config() -> dict:
    return {**hf_config(LABELS), "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}


@pytest.fixture(scope="module")
def model(config: dict) -> nnx.Module:
    return ARCHITECTURE.build(ARCHITECTURE.config(HfView(config)), nnx.Rngs(0), jnp.dtype(jnp.float32), False)


def test_packing_keeps_every_snippet_whole() -> None:
    rng = np.random.default_rng(0)
    snippets = [(rng.integers(4, 99, rng.integers(5, MAX_LEN + 1)).astype(np.int32), i % 3) for i in range(100)]
    seen = []
    for batch, labels in pack(snippets):
        for slot in np.flatnonzero(labels >= 0):
            start, length = int(batch.starts[slot]), int(batch.lengths[slot])
            part = slice(start, start + length)
            assert start // MAX_LEN == (start + length - 1) // MAX_LEN
            assert set(np.asarray(batch.segment_ids[part])) == {slot}
            assert np.array_equal(batch.positions[part], np.arange(length))
            seen.append((np.asarray(batch.input_ids[part]).tolist(), int(labels[slot])))
    assert sorted(seen) == sorted((ids.tolist(), label) for ids, label in snippets)


def test_reindenting_changes_blanks_only() -> None:
    lines = ["if x:", "  if y:", "    z", "", "   w"]
    assert reindent(lines, "\t") == ["if x:", "\tif y:", "\t\tz", "", "\t w"]
    assert reindent(["a", "\tb"], "  ") == ["a", "  b"]


def test_augmented_text_is_part_of_the_text() -> None:
    rng = random.Random(0)
    lines = [f"{' ' * (i % 5)}line {i}" for i in range(12)]
    texts = {augment("\n".join(lines), rng) for _ in range(300)}
    bare = [line.strip() for line in lines]
    assert len(texts) > 50
    for text in texts:
        found = [line.strip() for line in text.split("\n")]
        start = bare.index(found[0])
        assert found == bare[start : start + len(found)]


def test_gradients_reach_every_parameter(model: nnx.Module) -> None:
    rng = np.random.default_rng(0)
    ((batch, labels),) = pack([(rng.integers(4, 99, 40).astype(np.int32), i % 3) for i in range(30)])
    loss, gradients = nnx.jit(nnx.value_and_grad(lambda m: mean_loss(m, batch, labels, 0.0)))(model)
    assert loss == pytest.approx(np.log(3), abs=0.1)
    for path, gradient in nnx.to_flat_state(gradients):
        norm = float(jnp.linalg.norm(gradient[...]))
        assert np.isfinite(norm)
        # A bias common to all keys moves every score of a query alike, which the softmax does not see.
        assert norm > (-1 if path[-2:] == ("k", "bias") else 1e-9), path


def test_a_saved_checkpoint_scores_as_the_trained_model_does(model: nnx.Module, config: dict, tmp_path) -> None:
    tokenizer = train_tokenizer(TEXTS * 9)
    save(model, tokenizer, config, tmp_path)
    outputs = LLM(tmp_path).classify(TEXTS, use_tqdm=False)
    rounded = jax.tree.map(lambda array: array.astype(jnp.bfloat16).astype(jnp.float32), nnx.state(model))
    ((batch, _),) = pack([(ids, 0) for ids in encode(TEXTS, tokenizer)])
    again = nnx.merge(nnx.graphdef(model), rounded)
    expected = again.head(again(batch)[batch.starts])[: len(TEXTS)]
    np.testing.assert_allclose([out.outputs.logits for out in outputs], expected, atol=1e-5)


def test_evaluation_counts_confusions(model: nnx.Module, config: dict, tmp_path) -> None:
    save(model, train_tokenizer(TEXTS), config, tmp_path)
    rows = [Row(text, label, "pypi:a@1", "a", "MIT") for text, label in zip(TEXTS, LABELS, strict=True)]
    result = evaluate_llm(tmp_path, rows)
    assert result.total == 3
    assert result.counts.sum(axis=1).tolist() == [1, 1, 1]
    predicted = [out.outputs.label for out in LLM(tmp_path).classify(TEXTS, use_tqdm=False)]
    assert result.accuracy == pytest.approx(np.mean([a == b for a, b in zip(predicted, LABELS, strict=True)]))

"""Pooler on hand-built batches, against plain numpy in float64."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from packing import Sequence, pack

from jaxcls.layers.head import DENSE, LINEAR, POOLER, ClassificationHead, HeadConfig
from jaxcls.layers.packed import PackedBatch
from jaxcls.pooling.activation import ActivationName, ScoreActivation
from jaxcls.pooling.pooler import Pooler, PoolerOutput

PAD = 0
DIM, LABELS = 6, 3
# Rows of 8: padding inside a row, at its end, and an unused slot; texts with the padding id at odd places.
SEQUENCES = [
    Sequence(0, (5, 6, 7)),
    Sequence(3, (5, PAD, PAD)),
    Sequence(8, (PAD, 5, PAD, 6, PAD), use_activation=False),
    Sequence(13, (PAD, PAD)),
    Sequence(16, (9,), use_activation=False),
    Sequence(18, (5, 6, 7, 8, 9)),
]
# The token that transformers scores: the rightmost that is not padding, else the first.
LAST_REAL = (2, 3, 11, 13, 16, 22)
LAST_TOKEN = (2, 5, 12, 14, 16, 22)
SEQ = slice(0, len(SEQUENCES))


@pytest.fixture(scope="module")
def batch() -> PackedBatch:
    return pack(SEQUENCES, rows=3, row_len=8, slots=8)


@pytest.fixture(scope="module")
def hidden() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(24, DIM)).astype(np.float32)


def make_head(kind: HeadConfig = LINEAR, labels: int = LABELS) -> ClassificationHead:
    head = ClassificationHead(DIM, labels, kind, rngs=nnx.Rngs(0))
    rng = np.random.default_rng(1)
    for layer in (head.dense, head.score):
        if layer is not None and layer.bias is not None:
            layer.weight[...] = jnp.asarray(rng.normal(size=layer.weight.shape), jnp.float32)
            layer.bias[...] = jnp.asarray(rng.normal(size=layer.bias.shape), jnp.float32)
    return head


def expected_logits(head: ClassificationHead, x: np.ndarray, *, dense: bool) -> np.ndarray:
    def linear(layer: Any, values: np.ndarray) -> np.ndarray:
        return values @ np.asarray(layer.weight[...], np.float64).T + np.asarray(layer.bias[...], np.float64)

    x = x.astype(np.float64)
    return linear(head.score, np.tanh(linear(head.dense, x)) if dense else x)


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def run(pooler: Pooler, hidden: np.ndarray, batch: PackedBatch, head: ClassificationHead) -> PoolerOutput:
    graphdef, state = nnx.split(head)
    step = jax.jit(lambda s, h, b: pooler(h, b, nnx.merge(graphdef, s)))
    return PoolerOutput(*(np.asarray(x) for x in step(state, jnp.asarray(hidden), batch)))


def pooler(kind: Literal["CLS", "LAST", "MEAN", "ALL"], name: ActivationName = "softmax", **options: Any) -> Pooler:
    return Pooler(kind, ScoreActivation(name, "test"), **options)


def pooled(kind: str, hidden: np.ndarray, pad: int | None) -> np.ndarray:
    match kind:
        case "CLS":
            return hidden[[s.start for s in SEQUENCES]]
        case "LAST":
            return hidden[list(LAST_TOKEN if pad is None else LAST_REAL)]
        case _:
            return np.stack([hidden[s.part].astype(np.float64).mean(axis=0) for s in SEQUENCES])


@pytest.mark.parametrize("pad", [None, PAD])
@pytest.mark.parametrize("kind", ["CLS", "LAST", "MEAN"])
def test_one_row_a_sequence(kind: Any, pad: int | None, hidden: np.ndarray, batch: PackedBatch) -> None:
    head = make_head()
    output = run(pooler(kind, pad_token_id=pad), hidden, batch, head)
    logits = expected_logits(head, pooled(kind, hidden, pad), dense=False)
    np.testing.assert_allclose(output.logits[SEQ], logits, atol=1e-5)
    wants = np.array([[s.use_activation] for s in SEQUENCES])
    np.testing.assert_allclose(output.probs[SEQ], np.where(wants, softmax(logits), logits), atol=1e-5)
    assert np.isfinite(output.logits).all(), "unused slots must be finite"
    assert np.isfinite(output.probs).all()


@pytest.mark.parametrize("kind", ["CLS", "LAST", "MEAN", "ALL"])
def test_a_model_may_leave_out_what_is_not_scored(kind: Any, hidden: np.ndarray, batch: PackedBatch) -> None:
    head, one = make_head(), pooler(kind, pad_token_id=PAD)
    named = one.pick(batch)
    if kind in ("MEAN", "ALL"):
        assert named.scored is None
        return
    assert named.scored is not None
    rows = hidden[np.asarray(named.scored)]
    assert len(rows) == len(batch.starts)
    np.testing.assert_allclose(run(one, rows, named, head).probs, run(one, hidden, batch, head).probs, atol=1e-6)


def test_a_padding_id_elsewhere_changes_nothing(hidden: np.ndarray, batch: PackedBatch) -> None:
    head = make_head()
    with_pad = run(pooler("LAST", pad_token_id=1234), hidden, batch, head)
    without = run(pooler("LAST"), hidden, batch, head)
    np.testing.assert_array_equal(with_pad.logits, without.logits)


def test_all_scores_every_token(hidden: np.ndarray, batch: PackedBatch) -> None:
    head = make_head()
    output = run(pooler("ALL"), hidden, batch, head)
    assert output.logits.shape == (24, LABELS)
    logits = expected_logits(head, hidden, dense=False)
    for sequence in SEQUENCES:
        np.testing.assert_allclose(output.logits[sequence.part], logits[sequence.part], atol=1e-5)
        wanted = softmax(logits[sequence.part]) if sequence.use_activation else logits[sequence.part]
        np.testing.assert_allclose(output.probs[sequence.part], wanted, atol=1e-5)
    assert np.isfinite(output.probs).all()


@pytest.mark.parametrize(
    ("kind", "pooling", "dense"),
    [
        (LINEAR, "CLS", False),
        (LINEAR, "ALL", False),
        (POOLER, "CLS", True),
        # BERT's pooler belongs to sequences: token classification leaves it out.
        (POOLER, "ALL", False),
        (DENSE, "CLS", True),
        (DENSE, "ALL", True),
    ],
)
def test_heads(kind: HeadConfig, pooling: Any, dense: bool, hidden: np.ndarray, batch: PackedBatch) -> None:
    head = make_head(kind)
    output = run(pooler(pooling), hidden, batch, head)
    rows = hidden if pooling == "ALL" else pooled("CLS", hidden, None)
    expected = expected_logits(head, rows, dense=dense)
    np.testing.assert_allclose(output.logits[: len(expected)], expected, atol=1e-5)


def test_heads_are_float32_for_bfloat16_models(hidden: np.ndarray, batch: PackedBatch) -> None:
    head = make_head(DENSE)
    rounded = jnp.asarray(hidden, jnp.bfloat16)
    output = run(pooler("MEAN"), rounded, batch, head)
    assert output.logits.dtype == output.probs.dtype == np.float32
    expected = expected_logits(head, pooled("MEAN", np.asarray(rounded, np.float32), None), dense=True)
    np.testing.assert_allclose(output.logits[SEQ], expected, atol=1e-5)


@pytest.mark.parametrize(("mean", "sigma"), [(2.65, 1.0), (0.0, 4.0), (1.5, -0.5), (-3.0, 1e-3)])
@pytest.mark.parametrize("kind", ["CLS", "ALL"])
def test_calibration_comes_before_the_activation(
    kind: Any, mean: float, sigma: float, hidden: np.ndarray, batch: PackedBatch
) -> None:
    head = make_head()
    output = run(pooler(kind, "sigmoid", mean=mean, sigma=sigma), hidden, batch, head)
    rows = hidden[SEQUENCES[0].part] if kind == "ALL" else pooled("CLS", hidden, None)
    logits = (expected_logits(head, rows, dense=False) - mean) / sigma
    np.testing.assert_allclose(output.logits[: len(rows)], logits, rtol=1e-4, atol=1e-5)
    wanted = 1 / (1 + np.exp(np.clip(-logits, -700, 700)))
    if kind == "CLS":
        wanted = np.where([[s.use_activation] for s in SEQUENCES], wanted, logits)
    np.testing.assert_allclose(output.probs[: len(rows)], wanted, rtol=1e-4, atol=1e-5)


def test_a_request_does_not_change_its_batch_mates(hidden: np.ndarray, batch: PackedBatch) -> None:
    head = make_head()
    both = run(pooler("CLS"), hidden, batch, head)
    everywhere = pack([Sequence(s.start, s.ids) for s in SEQUENCES], rows=3, row_len=8, slots=8)
    wanted = run(pooler("CLS"), hidden, everywhere, head)
    for i, sequence in enumerate(SEQUENCES):
        np.testing.assert_array_equal(both.probs[i], (wanted.probs if sequence.use_activation else both.logits)[i])
    np.testing.assert_array_equal(both.logits, wanted.logits)

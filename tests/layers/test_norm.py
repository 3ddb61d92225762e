"""LayerNorm and RMSNorm against float64, where the one-pass variance would fail."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from jaxcls.layers.norm import LayerNorm, RMSNorm

DIM = 96
EPS = 1e-6
RNG = np.random.default_rng(0)
WEIGHT = RNG.normal(1, 0.2, DIM).astype(np.float32)
BIAS = RNG.normal(0, 0.2, DIM).astype(np.float32)
INPUTS = {
    "ordinary": RNG.normal(0, 1, (5, DIM)),
    "large mean": RNG.normal(300, 1, (5, DIM)),
    "one outlier": RNG.normal(0, 1, (5, DIM)) + 1e4 * (np.arange(DIM) == 7),
    "tiny": RNG.normal(0, 1e-4, (5, DIM)),
    "constant": np.full((5, DIM), 3.0),
    "zero": np.zeros((5, DIM)),
}


def layer_norm(x: np.ndarray) -> np.ndarray:
    x = x.astype(np.float64)
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + EPS) * WEIGHT + BIAS


def rms_norm(x: np.ndarray, offset: float) -> np.ndarray:
    x = x.astype(np.float64)
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + EPS) * (offset + WEIGHT)


def make(kind: Any, **options: Any) -> Any:
    norm = kind(DIM, eps=EPS, **options)
    norm.weight[...] = jnp.asarray(WEIGHT)
    if isinstance(norm, LayerNorm):
        norm.bias[...] = jnp.asarray(BIAS)
    return norm


@pytest.mark.parametrize("case", INPUTS)
def test_layer_norm(case: str) -> None:
    x = INPUTS[case].astype(np.float32)
    # The mean itself is a float32: with a mean of 300 it is off by up to an ulp or two of 3e-5.
    atol = 1e-4 if case == "large mean" else 1e-5
    np.testing.assert_allclose(make(LayerNorm)(jnp.asarray(x)), layer_norm(x), atol=atol, rtol=1e-5)


def test_the_one_pass_variance_would_fail_that() -> None:
    x = INPUTS["large mean"].astype(np.float32)
    variance = np.square(x).mean(axis=-1, keepdims=True) - np.square(x.mean(axis=-1, keepdims=True))
    one_pass = (x - x.mean(axis=-1, keepdims=True)) / np.sqrt(variance + EPS) * WEIGHT + BIAS
    assert np.abs(one_pass - layer_norm(x)).max() > 1e-3


@pytest.mark.parametrize("offset", [0.0, 1.0])
@pytest.mark.parametrize("case", INPUTS)
def test_rms_norm(case: str, offset: float) -> None:
    x = INPUTS[case].astype(np.float32)
    norm = make(RMSNorm, offset=offset)
    np.testing.assert_allclose(norm(jnp.asarray(x)), rms_norm(x, offset), atol=1e-6, rtol=1e-5)


def test_new_norms_are_the_identity_on_normalised_inputs() -> None:
    x = np.sign(INPUTS["ordinary"]).astype(np.float32)
    for offset in (0.0, 1.0):
        np.testing.assert_allclose(RMSNorm(DIM, eps=EPS, offset=offset)(jnp.asarray(x)), x, atol=1e-5)


@pytest.mark.parametrize("kind", [LayerNorm, RMSNorm])
def test_bfloat16_is_normalised_in_float32(kind: Any) -> None:
    x = jnp.asarray(INPUTS["large mean"] / 30, jnp.bfloat16)
    y = make(kind)(x)
    exact = layer_norm(np.asarray(x, np.float32)) if kind is LayerNorm else rms_norm(np.asarray(x, np.float32), 0.0)
    assert y.dtype == jnp.float32
    np.testing.assert_allclose(np.asarray(y, np.float64), exact, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", [LayerNorm, RMSNorm])
def test_float16_activations_do_not_overflow(kind: Any) -> None:
    y = make(kind)(jnp.asarray(1000 * INPUTS["ordinary"], jnp.float16))
    assert np.isfinite(np.asarray(y, np.float32)).all()
    assert np.abs(np.asarray(y, np.float32)).max() > 1

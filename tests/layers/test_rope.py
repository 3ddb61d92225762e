"""Rotations by position; the frequencies are tested with the config that names them."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from jaxcls.layers.rope import RopeConfig, cos_sin, inverse_frequencies
from kernels_pallas.rotate import rotate

ROPE = RopeConfig(head_dim=8, theta=100.0)


def turned(x: np.ndarray, positions: list[int], rope: RopeConfig = ROPE) -> np.ndarray:
    where = jnp.asarray(positions, jnp.int32)
    return np.asarray(rotate(jnp.asarray(x), *cos_sin(rope, where, jnp.full_like(where, 100))))


def vectors(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_frequencies_are_powers_of_theta() -> None:
    np.testing.assert_allclose(inverse_frequencies(ROPE), 100.0 ** -(np.arange(4) / 4), rtol=1e-6)


def test_pairs_are_the_halves_turned_as_complex_numbers() -> None:
    x, positions = vectors(5, 2, 8), [0, 1, 2, 7, 90]
    angles = np.array(positions)[:, None] * 100.0 ** -(np.arange(4) / 4)
    expected = (x[..., :4] + 1j * x[..., 4:]) * np.exp(1j * angles)[:, None, :]
    np.testing.assert_allclose(turned(x, positions), np.concatenate([expected.real, expected.imag], -1), atol=2e-6)


def test_position_zero_changes_nothing() -> None:
    x = vectors(3, 2, 8)
    np.testing.assert_array_equal(turned(x, [0, 0, 0]), x)


def test_scores_depend_on_the_distance_only() -> None:
    q, k = vectors(1, 1, 8), vectors(1, 1, 8)[..., ::-1]
    scores = [float((turned(q, [p + 3]) * turned(k, [p])).sum()) for p in (0, 5, 40)]
    np.testing.assert_allclose(scores, scores[0], rtol=1e-5)
    assert abs(float((turned(q, [4]) * turned(k, [0])).sum()) - scores[0]) > 1e-3


def test_lengths_matter_to_dynamic_scaling_only() -> None:
    positions, short, long = (jnp.asarray(v, jnp.int32) for v in ([3], [4], [900]))
    for kind in ("default", "linear", "llama3", "yarn", "proportional"):
        rope = RopeConfig(8, 100.0, kind, factor=2.0, original_max_len=64)
        np.testing.assert_array_equal(cos_sin(rope, positions, short)[0], cos_sin(rope, positions, long)[0])
    dynamic = RopeConfig(8, 100.0, "dynamic", factor=2.0, original_max_len=64)
    assert not np.array_equal(cos_sin(dynamic, positions, short)[0], cos_sin(dynamic, positions, long)[0])


def test_longrope_takes_the_factors_of_each_sequences_own_length() -> None:
    short, long = (1.0, 2.0, 2.0, 4.0), (3.0, 5.0, 7.0, 9.0)
    rope = RopeConfig(8, 100.0, "longrope", original_max_len=64, short_factors=short, long_factors=long)
    cos, _ = cos_sin(rope, jnp.full(3, 5, jnp.int32), jnp.asarray([64, 65, 8], jnp.int32))
    angles = 5 * 100.0 ** -(np.arange(4) / 4)
    for row, factors in zip(cos, (short, long, short), strict=True):
        np.testing.assert_allclose(row, np.cos(angles / np.array(factors)), atol=1e-6)


def test_a_proportional_rope_turns_a_fraction_of_the_frequencies() -> None:
    rope = RopeConfig(8, 100.0, "proportional", factor=2.0, fraction=0.5)
    np.testing.assert_allclose(inverse_frequencies(rope), [0.5, 0.5 * 100**-0.25, 0, 0], rtol=1e-6)


def test_padding_of_length_zero_stays_finite() -> None:
    dynamic = RopeConfig(8, 100.0, "dynamic", factor=2.0, original_max_len=64)
    cos, sin = cos_sin(dynamic, jnp.zeros(2, jnp.int32), jnp.zeros(2, jnp.int32))
    assert np.isfinite(cos).all()
    assert np.isfinite(sin).all()


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_the_rotation_itself_is_float32(dtype: Any) -> None:
    x = jnp.asarray(vectors(4, 2, 8), dtype)
    where = jnp.asarray([1, 500, 3000, 30000], jnp.int32)
    y = rotate(x, *cos_sin(ROPE, where, where + 1))
    exact = turned(np.asarray(x, np.float32), where.tolist())
    assert y.dtype == jnp.float32
    np.testing.assert_allclose(y, exact, rtol=1e-5, atol=1e-5)

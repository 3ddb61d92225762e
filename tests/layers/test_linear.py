"""Linear layers and embeddings."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxcls.layers.linear import Embedding, Linear
from jaxcls.layers.mlp import MLP


def linear(weight: np.ndarray, bias: np.ndarray | None, dtype: Any) -> Linear:
    layer = Linear(weight.shape[1], weight.shape[0], bias=bias is not None, dtype=jnp.dtype(dtype), rngs=nnx.Rngs(0))
    layer.weight[...] = jnp.asarray(weight, dtype)
    if bias is not None and layer.bias is not None:
        layer.bias[...] = jnp.asarray(bias, dtype)
    return layer


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("shape", [(7,), (3, 7), (2, 3, 7)])
def test_it_is_x_times_the_checkpoints_weight_transposed(shape: tuple[int, ...], biased: bool) -> None:
    rng = np.random.default_rng(0)
    x, weight = rng.normal(size=shape).astype(np.float32), rng.normal(size=(5, 7)).astype(np.float32)
    bias = rng.normal(size=5).astype(np.float32) if biased else None
    expected = x.astype(np.float64) @ weight.astype(np.float64).T + (0 if bias is None else bias)
    layer = linear(weight, bias, jnp.float32)
    assert (layer.bias is None) is not biased
    np.testing.assert_allclose(layer(jnp.asarray(x)), expected, atol=1e-6, rtol=1e-5)


def test_bfloat16_products_accumulate_in_float32() -> None:
    # 512 ones and a small rest: a bfloat16 accumulator stops growing at 256.
    weight = np.concatenate([np.ones(512), np.full(512, 2**-6)])[None]
    x = jnp.ones((1, 1024), jnp.bfloat16)
    y = linear(weight, None, jnp.bfloat16)(x)
    assert y.dtype == jnp.float32
    assert float(y[0, 0]) == 520.0


def test_the_result_is_not_rounded() -> None:
    # 257 is no bfloat16.
    y = linear(np.ones((1, 257)), np.zeros(1), jnp.bfloat16)(jnp.ones((1, 257), jnp.bfloat16))
    assert float(y[0, 0]) == 257.0


def test_the_input_is_rounded_to_the_weights_dtype() -> None:
    x = jnp.full((1, 2), 257, jnp.float32)
    assert float(linear(np.ones((1, 2)), None, jnp.bfloat16)(x)[0, 0]) == 512.0
    assert float(linear(np.ones((1, 2)), None, jnp.float32)(x)[0, 0]) == 514.0


@pytest.mark.parametrize(
    ("dtype", "product", "highest"),
    [
        (jnp.float32, "(tensor<1x3xf32>, tensor<2x3xf32>) -> tensor<1x2xf32>", True),
        (jnp.bfloat16, "(tensor<1x3xbf16>, tensor<2x3xbf16>) -> tensor<1x2xf32>", False),
    ],
)
def test_what_the_compiler_is_asked_for(dtype: Any, product: str, highest: bool) -> None:
    """A CPU computes the same whatever it is told; TPUs and GPUs do not."""
    layer = linear(np.ones((2, 3)), None, dtype)
    lowered = jax.jit(layer.__call__).lower(jnp.ones((1, 3), dtype)).as_text()
    assert product in lowered
    assert ("precision = [HIGHEST, HIGHEST]" in lowered) is highest


def quantised(weight: np.ndarray, scale: np.ndarray, bias: np.ndarray | None, dtype: Any) -> Linear:
    layer = linear(weight, bias, dtype)
    layer.quantise(int8_inputs=False)
    assert layer.scale is not None
    layer.weight[...], layer.scale[...] = jnp.asarray(weight, jnp.int8), jnp.asarray(scale, jnp.float32)
    return layer


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_quantised_weight_stands_for_weight_times_scale(dtype: Any, biased: bool) -> None:
    rng = np.random.default_rng(0)
    x, weight = rng.normal(size=(3, 70)).astype(np.float32), rng.integers(-127, 128, (5, 70))
    scale = rng.uniform(0.01, 0.1, 5).astype(np.float32)
    bias = rng.normal(size=5).astype(np.float32) if biased else None
    layer = quantised(weight, scale, bias, dtype)
    assert (layer.weight.dtype, layer.dtype) == (jnp.int8, dtype)
    rounded = np.asarray(jnp.asarray(x, dtype), np.float64)
    rounded_bias = 0 if bias is None else np.asarray(jnp.asarray(bias, dtype), np.float64)
    exact = rounded @ (weight * scale[:, None].astype(np.float64)).T + rounded_bias
    # Only x and the bias are rounded to the dtype: whole numbers up to 127 are exact, and sums are float32.
    np.testing.assert_allclose(layer(jnp.asarray(x)), exact, atol=1e-4, rtol=1e-5)


def test_quantising_leaves_room_for_a_stack() -> None:
    layer = linear(np.ones((4, 3)), None, jnp.bfloat16)
    layer.weight = nnx.Param(jnp.ones((2, 4, 3), jnp.bfloat16))
    layer.quantise(int8_inputs=False)
    assert layer.scale is not None
    assert (layer.weight.shape, layer.weight.dtype) == ((2, 4, 3), jnp.int8)
    assert (layer.scale.shape, layer.scale.dtype) == ((2, 4), jnp.float32)


def test_embeddings_look_rows_up() -> None:
    table = Embedding(6, 4, dtype=jnp.dtype(jnp.float32), rngs=nnx.Rngs(0))
    ids = jnp.array([5, 0, 5], jnp.int32)
    np.testing.assert_array_equal(table(ids), np.asarray(table.weight[...])[[5, 0, 5]])


@pytest.mark.parametrize("gated", [True, False])
def test_the_two_feed_forward_shapes(gated: bool) -> None:
    mlp = MLP(4, 6, act="relu2", gated=gated, bias=True, dtype=jnp.dtype(jnp.float32), rngs=nnx.Rngs(0))
    rng = np.random.default_rng(0)

    def fill(layer: Linear) -> Any:
        weight, bias = rng.normal(size=layer.weight.shape), rng.normal(size=layer.weight.shape[0])
        assert layer.bias is not None
        layer.weight[...], layer.bias[...] = jnp.asarray(weight, jnp.float32), jnp.asarray(bias, jnp.float32)
        return lambda x: x @ weight.T + bias

    up, down = fill(mlp.up), fill(mlp.down)
    gate = None if mlp.gate is None else fill(mlp.gate)
    assert (gate is not None) is gated
    x = rng.normal(size=(3, 4))
    square = lambda z: np.maximum(z, 0) ** 2  # noqa: E731
    expected = down(square(up(x)) if gate is None else square(gate(x)) * up(x))
    np.testing.assert_allclose(mlp(jnp.asarray(x, jnp.float32)), expected, rtol=1e-4, atol=1e-4)

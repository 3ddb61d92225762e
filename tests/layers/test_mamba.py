"""The causal convolution and the selective scan over packed tokens, against loops in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxcls.layers.mamba import CausalConv, selective_scan

INNER, STATES = 6, 5


def positions(lengths: list[int], padding: int = 0) -> np.ndarray:
    return np.concatenate([*(np.arange(n) for n in lengths), np.zeros(padding, int)])


@pytest.mark.parametrize("width", [1, 2, 4, 9])
@pytest.mark.parametrize("biased", [True, False])
def test_the_convolution_stays_within_its_sequence(width: int, biased: bool) -> None:
    rng = np.random.default_rng(0)
    conv = CausalConv(INNER, width, bias=biased, rngs=nnx.Rngs(0))
    weight, bias = rng.normal(size=(INNER, width)).astype(np.float32), rng.normal(size=INNER).astype(np.float32)
    conv.weight[...] = jnp.asarray(weight)
    if conv.bias is not None:
        conv.bias[...] = jnp.asarray(bias)
    at = positions([5, 1, 2, 8], padding=2)
    x = rng.normal(size=(len(at), INNER)).astype(np.float32)
    expected = np.zeros(x.shape) + (bias if biased else 0)
    for t, position in enumerate(at):
        for back in range(min(width, position + 1)):
            expected[t] += weight[:, width - 1 - back] * x[t - back]
    np.testing.assert_allclose(conv(jnp.asarray(x), jnp.asarray(at)), expected, atol=2e-6)


def inputs(num_tokens: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(0)
    u, dt, b, c = (rng.normal(size=(num_tokens, n)) for n in (INNER, INNER, STATES, STATES))
    a = -np.exp(rng.normal(size=(INNER, STATES)))
    return tuple(x.astype(np.float32) for x in (u, np.log1p(np.exp(dt - 2)), a, b, c))


def loop(u: np.ndarray, dt: np.ndarray, a: np.ndarray, b: np.ndarray, c: np.ndarray, first: np.ndarray) -> np.ndarray:
    state, out = np.zeros(a.shape), []
    for t in range(len(u)):
        step = dt[t].astype(np.float64)[:, None]
        state = np.exp(step * a) * (0 if first[t] else state) + step * b[t] * u[t][:, None]
        out.append(state @ c[t])
    return np.array(out)


@pytest.mark.parametrize(
    "lengths",
    [
        [64],  # two chunks of 32
        [3, 1, 40, 20],
        [1024],  # eight chunks, one sequence
        [300, 700, 536],  # twelve, of which some hold the end of a sequence and the beginning of another
        [128] * 8,  # chunks that are sequences
        [33],  # an odd number of tokens: chunks of one
        [5, 91],
        [1],
    ],
    ids=str,
)
def test_the_scan_equals_a_loop(lengths: list[int]) -> None:
    first = positions(lengths) == 0
    values = inputs(len(first))
    y = jax.jit(selective_scan)(*map(jnp.asarray, (*values, first)))
    np.testing.assert_allclose(y, loop(*values, first), atol=2e-5)


def test_a_neighbour_changes_nothing() -> None:
    values = inputs(96)
    first = positions([50, 46]) == 0
    y = np.asarray(selective_scan(*map(jnp.asarray, (*values, first))))
    u, dt, a, b, c = values
    other = (np.concatenate([u[:50] * 7, u[50:]]), dt, a, b, c)
    np.testing.assert_array_equal(selective_scan(*map(jnp.asarray, (*other, first)))[50:], y[50:])


def test_gradients_are_those_of_a_plain_loop() -> None:
    values, first = inputs(96), positions([50, 46]) == 0

    def plain(*x: jax.Array) -> jax.Array:
        u, dt, a, b, c = x
        state, out = jnp.zeros(a.shape), []
        for t in range(len(u)):
            kept = jnp.exp(dt[t][:, None] * a) * (0.0 if first[t] else state)
            state = kept + dt[t][:, None] * b[t] * u[t][:, None]
            out.append(state @ c[t])
        return jnp.sin(jnp.stack(out)).sum()

    def ours(*x: jax.Array) -> jax.Array:
        return jnp.sin(selective_scan(*x, jnp.asarray(first))).sum()

    arguments = tuple(map(jnp.asarray, values))
    for got, want in zip(
        jax.grad(ours, argnums=range(5))(*arguments), jax.grad(plain, argnums=range(5))(*arguments), strict=True
    ):
        np.testing.assert_allclose(got, want, atol=1e-4)


def test_no_array_holds_a_state_for_each_token() -> None:
    tokens, inner, states = 8192, 64, 16
    shapes = ((tokens, inner), (tokens, inner), (inner, states), (tokens, states), (tokens, states), (tokens,))
    arguments = [jax.ShapeDtypeStruct(s, jnp.bool_ if len(s) == 1 else jnp.float32) for s in shapes]
    compiled = jax.jit(selective_scan).lower(*arguments).compile()
    analysis = compiled.memory_analysis()
    assert analysis is not None
    assert analysis.temp_size_in_bytes < tokens * inner * states * 4 / 2

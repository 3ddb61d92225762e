"""The feed-forward op: every implementation against float64 numpy."""

from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf

from kernels_cpu import library
from kernels_pallas.linear import Activation
from kernels_pallas.mlp import Matrix, mlp

IMPLEMENTATIONS = ["xla", "cpu"] if {"float32", "bfloat16"} <= library().dtypes else ["xla"]
every = pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
gated = pytest.mark.parametrize("has_gate", [False, True], ids=["plain", "gated"])

EXACT: dict[str, Any] = {
    "none": lambda y: y,
    "gelu": lambda y: 0.5 * y * (1 + erf(y / np.sqrt(2))),
    "gelu_tanh": lambda y: 0.5 * y * (1 + np.tanh(np.sqrt(2 / np.pi) * (y + 0.044715 * y**3))),
    "silu": lambda y: y / (1 + np.exp(-y)),
    "relu": lambda y: np.maximum(y, 0),
}
# "w8a8": int8 weights, and what is multiplied by them in int8 too.
KINDS: dict[str, dict[str, Any]] = {
    "float32": {"dtype": jnp.float32},
    "bfloat16": {"dtype": jnp.bfloat16},
    "int8": {"dtype": jnp.bfloat16},
    "w8a8": {"dtype": jnp.bfloat16, "int8_inputs": True},
}


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng((seed, *shape)).normal(size=shape)


def matrix(out_dim: int, in_dim: int, kind: str, seed: int) -> Matrix:
    weight, bias = draw(out_dim, in_dim, seed=seed) / in_dim**0.5, jnp.asarray(draw(out_dim, seed=seed), jnp.float32)
    if kind not in ("int8", "w8a8"):
        return Matrix(jnp.asarray(weight, KINDS[kind]["dtype"]), None, bias)
    scale = np.abs(weight).max(axis=1) / 127
    return Matrix(jnp.asarray(np.round(weight / scale[:, None]), jnp.int8), jnp.asarray(scale, jnp.float32), bias)


def multiplied(x: np.ndarray, by: Matrix, kind: str) -> np.ndarray:
    if kind == "w8a8":
        step = np.abs(x).max(axis=1, keepdims=True) / 127
        x = np.round(x / np.where(step > 0, step, 1)) * step
    elif kind != "float32":
        x = np.asarray(jnp.asarray(x, jnp.bfloat16), np.float64)
    scale = 1.0 if by.scale is None else np.asarray(by.scale, np.float64)
    return x @ np.asarray(by.weight, np.float64).T * scale + np.asarray(by.bias, np.float64)


def operands(tokens: int, dim: int, hidden: int, kind: str, has_gate: bool) -> tuple[Any, ...]:
    up, down = matrix(hidden, dim, kind, 1), matrix(dim, hidden, kind, 2)
    gate = matrix(hidden, dim, kind, 3) if has_gate else None
    x, residual = (jnp.asarray(draw(tokens, dim, seed=seed), jnp.float32) for seed in (4, 5))
    return x, up, down, gate, residual


def exact(x: Any, up: Matrix, down: Matrix, gate: Matrix | None, residual: Any, activation: str, kind: str) -> Any:
    x = np.asarray(x, np.float64)
    activated = EXACT[activation](multiplied(x, up if gate is None else gate, kind))
    hidden = activated if gate is None else activated * multiplied(x, up, kind)
    return multiplied(hidden, down, kind) + np.asarray(residual, np.float64)


# One token; a few that fill no vector; panels of every width; hidden layers of which two vectors are a panel (float32).
SHAPES = [(1, 64, 64), (5, 64, 128), (17, 128, 192), (64, 64, 256), (100, 64, 4864), (130, 192, 320)]
# Rounding the hidden layer turns a difference of the last bit into one of a step.
TOLERANCE = {"float32": 2e-5, "bfloat16": 2e-2, "int8": 2e-2, "w8a8": 5e-2}


@every
@gated
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_blocks(implementation: Any, shape: tuple[int, int, int], kind: str, has_gate: bool) -> None:
    given = operands(*shape, kind, has_gate)
    activation: Any = "silu" if has_gate else "gelu"
    y = mlp(*given, activation=activation, implementation=implementation, **KINDS[kind])
    assert y.dtype == jnp.float32
    np.testing.assert_allclose(y, exact(*given, activation, kind), rtol=0, atol=TOLERANCE[kind])


@every
@gated
@pytest.mark.parametrize("activation", get_args(Activation))
def test_activations(implementation: Any, activation: Any, has_gate: bool) -> None:
    given = operands(40, 64, 112, "float32", has_gate)
    y = mlp(*given, activation=activation, dtype=jnp.float32, implementation=implementation)
    np.testing.assert_allclose(y, exact(*given, activation, "float32"), rtol=0, atol=1e-5)


@every
@gated
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_tokens", [0, 1, 16, 17, 40, 65, 129, 130])
def test_padding_changes_no_token(implementation: Any, num_tokens: int, kind: str, has_gate: bool) -> None:
    x, *others, residual = operands(130, 64, 128, kind, has_gate)
    options: Any = {"activation": "gelu", "implementation": implementation, **KINDS[kind]}
    given = x.at[num_tokens:].set(jnp.nan) if implementation == "cpu" else x
    y = np.asarray(mlp(given, *others, residual, jnp.int32(num_tokens), **options))
    alone = mlp(x[:num_tokens], *others, residual[:num_tokens], **options)
    np.testing.assert_allclose(y[:num_tokens], alone, rtol=0, atol=TOLERANCE[kind])
    assert np.isfinite(y).all()


@every
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("token", [7, 17])  # in a vector, and one of the few behind them
def test_nan_is_never_hidden(implementation: Any, kind: str, token: int) -> None:
    x, *others = operands(20, 64, 128, kind, has_gate=True)
    y = mlp(x.at[token, 3].set(jnp.nan), *others, activation="silu", implementation=implementation, **KINDS[kind])
    bad = np.isnan(np.asarray(y))
    assert bad[token].all()
    assert not np.delete(bad, token, axis=0).any()


@gated
@pytest.mark.parametrize("implementation", [None, "xla"])
def test_gradients(implementation: Any, has_gate: bool) -> None:
    given = operands(17, 64, 96, "float32", has_gate)

    def value(*operands: Any) -> Any:
        return (mlp(*operands, activation="silu", dtype=jnp.float32, implementation=implementation) ** 2).sum()

    def plain(x: Any, up: Matrix, down: Matrix, gate: Matrix | None, residual: Any) -> Any:
        hidden = x @ up.weight.T + up.bias
        hidden = jax.nn.silu(hidden) if gate is None else jax.nn.silu(x @ gate.weight.T + gate.bias) * hidden
        return ((hidden @ down.weight.T + down.bias + residual) ** 2).sum()

    found, expected = (jax.grad(f, argnums=tuple(range(5)))(*given) for f in (value, plain))
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_what_the_kernel_cannot_do_is_said_and_runs_elsewhere() -> None:
    given = operands(3, 64, 24, "float32", has_gate=False)
    options: Any = {"activation": "gelu", "dtype": jnp.float32}
    if "cpu" in IMPLEMENTATIONS:
        with pytest.raises(ValueError, match="implementation='cpu': the inputs, 24, are not a multiple of 16"):
            mlp(*given, **options, implementation="cpu")
    chosen, xla = (mlp(*given, **options, implementation=name) for name in (None, "xla"))
    np.testing.assert_array_equal(chosen, xla)


def test_int8_inputs_need_int8_weights() -> None:
    with pytest.raises(ValueError, match="int8_inputs needs int8 weights, not float32"):
        mlp(*operands(3, 64, 64, "float32", has_gate=False), activation="gelu", int8_inputs=True, dtype=jnp.float32)

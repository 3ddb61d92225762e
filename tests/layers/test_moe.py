"""Mixtures of experts: the sum over the experts that were picked, whatever the tiles, the padding and the dtype."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxcls.layers.linear import quantise_layers
from jaxcls.layers.moe import Experts, Mixture, MixtureConfig

DIM = 12


def mixture(cfg: MixtureConfig, *, dim: int = DIM, dtype: Any = jnp.float32) -> Mixture:
    block = Mixture(dim, cfg, act="silu", dtype=dtype, rngs=nnx.Rngs(0))
    rng = np.random.default_rng(0)
    graphdef, state = nnx.split(block)
    return nnx.merge(
        graphdef, jax.tree.map(lambda w: jnp.asarray(rng.normal(size=w.shape) / w.shape[-1] ** 0.5, w.dtype), state)
    )


def swiglu(x: np.ndarray, gate: np.ndarray, up: np.ndarray, down: np.ndarray) -> np.ndarray:
    hidden = x @ gate.T
    return (hidden / (1 + np.exp(-hidden)) * (x @ up.T)) @ down.T


def expected(block: Mixture, x: np.ndarray) -> np.ndarray:
    """Token by token and expert by expert, in float64."""
    cfg, dim = block.cfg, x.shape[1]
    weight = {path: np.asarray(w.get_value(), np.float64) for path, w in nnx.to_flat_state(nnx.state(block))}
    gate_up = weight["experts", "gate_up", "weight"].reshape(cfg.num_experts, 2, cfg.mlp_dim, dim)
    down = weight["experts", "down", "weight"].reshape(cfg.num_experts, dim, cfg.mlp_dim)
    out = np.zeros(x.shape)
    for t, token in enumerate(x.astype(np.float64)):
        scores = np.exp(weight["router", "weight"] @ token)
        scores /= scores.sum()
        picked = np.argsort(-scores)[: cfg.top_k]
        total = scores[picked].sum() if cfg.normalise else 1.0
        out[t] = sum(scores[e] / total * swiglu(token, *gate_up[e], down[e]) for e in picked)
        if cfg.shared_dim is not None:
            shared = swiglu(token, *(weight["shared", name, "weight"] for name in ("gate", "up", "down")))
            out[t] += shared / (1 + np.exp(-weight["shared_gate", "weight"] @ token))
    return out


@pytest.mark.parametrize(
    "cfg",
    [
        MixtureConfig(5, 2, 7),
        MixtureConfig(5, 2, 7, normalise=True, shared_dim=9),
        MixtureConfig(3, 3, 7),
        MixtureConfig(40, 1, 4),
        MixtureConfig(6, 2, 48),
        MixtureConfig(1, 1, 4),
    ],
    ids=str,
)
@pytest.mark.parametrize("num_tokens", [1, 3, 100, 700])
def test_it_is_the_sum_over_the_picked_experts(cfg: MixtureConfig, num_tokens: int) -> None:
    dim = 32 if cfg.mlp_dim % 16 == 0 else DIM  # widths that the CPU kernel takes, and others
    block = mixture(cfg, dim=dim)
    x = np.random.default_rng(1).normal(size=(num_tokens, dim)).astype(np.float32)
    np.testing.assert_allclose(jax.jit(block.__call__)(jnp.asarray(x)), expected(block, x), atol=2e-5)


@pytest.mark.parametrize("count", [0, 1, 33, 64])
def test_padding_is_left_out_and_changes_nothing(count: int) -> None:
    block = mixture(MixtureConfig(5, 2, 7))
    x = np.random.default_rng(1).normal(size=(64, DIM)).astype(np.float32)
    garbage = x.copy()
    garbage[count:] = np.nan
    y = np.asarray(block(jnp.asarray(garbage), jnp.int32(count)))
    np.testing.assert_allclose(y[:count], expected(block, x[:count]), atol=2e-5)
    assert not y[count:].any()


def test_all_tokens_may_pick_the_same_experts() -> None:
    cfg = MixtureConfig(6, 2, 7)
    experts = Experts(DIM, cfg, act="silu", dtype=jnp.float32, rngs=nnx.Rngs(0))
    x = jnp.asarray(np.random.default_rng(1).normal(size=(300, DIM)), jnp.float32)
    picked = jnp.broadcast_to(jnp.array([4, 1]), (300, 2))
    together = experts(x, picked, jnp.full((300, 2), 0.5))
    alone = jnp.concatenate([experts(x[i : i + 1], picked[:1], jnp.full((1, 2), 0.5)) for i in range(0, 300, 50)])
    np.testing.assert_allclose(together[::50], alone, atol=1e-7)


def test_gradients_are_those_of_the_dense_sum() -> None:
    cfg = MixtureConfig(4, 2, 5)
    block = mixture(cfg)
    x = jnp.asarray(np.random.default_rng(1).normal(size=(50, DIM)), jnp.float32)
    graphdef, state = nnx.split(block)

    def dense(state: Any, x: jax.Array) -> jax.Array:
        model = nnx.merge(graphdef, state)
        scores = jax.nn.softmax(model.router(x), axis=-1)
        kept = jnp.where(scores >= jnp.sort(scores)[:, -cfg.top_k, None], scores, 0.0)
        gate_up = model.experts.gate_up.weight[...].reshape(cfg.num_experts, 2, cfg.mlp_dim, DIM)
        down = model.experts.down.weight[...].reshape(cfg.num_experts, DIM, cfg.mlp_dim)
        hidden = jnp.einsum("td,ecfd->ctef", x, gate_up, precision="highest")
        return jnp.einsum("tef,edf,te->td", jax.nn.silu(hidden[0]) * hidden[1], down, kept, precision="highest")

    def ours(state: Any, x: jax.Array) -> jax.Array:
        return nnx.merge(graphdef, state)(x)

    for function in (ours, dense):
        np.testing.assert_allclose(function(state, x), expected(block, np.asarray(x)), atol=2e-5)
    got, want = (jax.grad(lambda s, x, f=f: jnp.sin(f(s, x)).sum(), argnums=(0, 1))(state, x) for f in (ours, dense))
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, atol=5e-5)


def products(jaxpr: Any) -> int:
    """Multiply-adds of all dots, of a scan's body times its length."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            shared = [equation.invars[0].aval.shape[axis] for axis in contracted]
            total += equation.outvars[0].aval.size * int(np.prod(shared))
        for value in jax.tree.leaves(equation.params, is_leaf=lambda v: hasattr(v, "jaxpr")):
            if hasattr(value, "jaxpr"):
                total += products(value.jaxpr) * equation.params.get("length", 1)
    return total


@pytest.mark.parametrize(
    ("num_experts", "top_k", "num_tokens"), [(60, 4, 512), (128, 8, 512), (16, 2, 8192), (8, 2, 512)]
)
def test_products_are_at_most_three_times_those_needed(num_experts: int, top_k: int, num_tokens: int) -> None:
    """Where no kernel skips the empty rows of tiles, and as if every tile were used."""
    cfg, dim = MixtureConfig(num_experts, top_k, 6), 10  # widths that the CPU kernel does not take
    block = jax.eval_shape(lambda: mixture(cfg, dim=dim))
    x = jax.ShapeDtypeStruct((num_tokens, dim), jnp.float32)
    graphdef, state = nnx.split(block)
    made = products(jax.make_jaxpr(lambda s, x: nnx.merge(graphdef, s)(x))(state, x).jaxpr)
    router = num_tokens * num_experts * dim
    picked = num_tokens * top_k * 3 * cfg.mlp_dim * dim
    assert picked <= made - router <= 3 * picked


@pytest.mark.parametrize("int8_inputs", [False, True])
def test_experts_are_quantised_and_routers_are_not(int8_inputs: bool) -> None:
    class Model(nnx.Module):
        def __init__(self) -> None:
            self.layers = nnx.List([mixture(MixtureConfig(3, 2, 64, shared_dim=64), dim=64)])

    model = Model()
    quantise_layers(model, int8_inputs=int8_inputs)
    state = {path: w.get_value() for path, w in nnx.to_flat_state(nnx.state(model))}
    int8 = {".".join(map(str, path[2:-1])) for path, value in state.items() if value.dtype == jnp.int8}
    assert int8 == {"experts.gate_up", "experts.down", "shared.gate", "shared.up", "shared.down"}
    exact = mixture(MixtureConfig(3, 2, 64, shared_dim=64), dim=64)
    block = model.layers[0]
    for name in ("experts.gate_up", "experts.down", "shared.gate", "shared.up", "shared.down"):
        outer, inner = name.split(".")
        ours, theirs = (getattr(getattr(m, outer), inner) for m in (block, exact))
        scale = jnp.abs(theirs.weight[...]).max(axis=1) / 127
        ours.weight[...] = jnp.round(theirs.weight[...] / scale[:, None]).astype(jnp.int8)
        ours.scale[...] = scale
    x = jnp.asarray(np.random.default_rng(1).normal(size=(40, 64)), jnp.float32)
    np.testing.assert_allclose(block(x), exact(x), atol=0.1)
    assert float(jnp.abs(block(x) - exact(x)).max()) > 0

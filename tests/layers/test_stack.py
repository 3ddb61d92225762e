"""The two layouts of a stack of layers: same outputs, same gradients, one program or many."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jaxtyping import Array, Float

from jaxcls.layers.attention import Attend
from jaxcls.layers.linear import Linear
from jaxcls.layers.packed import PackedBatch
from jaxcls.layers.stack import build_layers, by_window, run_layers

DIM, LAYERS, TOKENS = 4, 3, 6
NO_LIMIT = np.iinfo(np.int32).max


class Layer(nnx.Module):
    """Not linear, and a different one for each weight and each setting."""

    def __init__(self, rngs: nnx.Rngs):
        self.mix = Linear(DIM, DIM, bias=True, dtype=jnp.dtype(jnp.float32), rngs=rngs)

    def __call__(self, x: Float[Array, "T D"], setting: Any) -> Float[Array, "T D"]:
        near = jnp.arange(TOKENS) < (NO_LIMIT if setting is None else setting)
        return x + jnp.where(near[:, None], jnp.tanh(self.mix(x)), 0.0)


def call(layer: Layer, x: Float[Array, "T D"], attend: Attend, setting: Any) -> Float[Array, "T D"]:
    del attend
    return layer(x, setting)


def attention(scored: tuple[int, ...] | None = None) -> Attend:
    """That of one sequence, of which the layers here use what it says of the tokens that are wanted."""
    given = {"input_ids": 0, "token_type_ids": 0, "positions": 0, "segment_ids": 0}
    tokens = {name: jnp.full(TOKENS, value, jnp.int32) for name, value in given.items()}
    seqs = {"starts": jnp.zeros(1, jnp.int32), "lengths": jnp.full(1, TOKENS, jnp.int32)}
    wanted = None if scored is None else jnp.array(scored, jnp.int32)
    batch = PackedBatch(**tokens, **seqs, use_activation=jnp.ones(1, bool), row_groups=((1, TOKENS),), scored=wanted)
    return batch.attend(scale=1.0, causal=True)


def both_layouts() -> tuple[nnx.Module, nnx.Module]:
    """The same weights, one array a layer and one array for all."""
    unrolled = build_layers(Layer, LAYERS, stacked=False, rngs=nnx.Rngs(0))
    stacked = build_layers(Layer, LAYERS, stacked=True, rngs=nnx.Rngs(1))
    rng = np.random.default_rng(0)
    for name, shape in (("weight", (DIM, DIM)), ("bias", (DIM,))):
        values = jnp.asarray(rng.normal(size=(LAYERS, *shape)), jnp.float32)
        getattr(stacked.mix, name)[...] = values
        for i in range(LAYERS):
            getattr(unrolled[i].mix, name)[...] = values[i]
    return unrolled, stacked


X = np.random.default_rng(1).normal(size=(TOKENS, DIM)).astype(np.float32)


def output(layers: nnx.Module, settings: Sequence[int | None]) -> np.ndarray:
    graphdef, state = nnx.split(layers)
    return np.asarray(
        jax.jit(lambda s, x: run_layers(nnx.merge(graphdef, s), x, attention(), call, settings))(state, X)
    )


def run(layers: nnx.Module, settings: Sequence[int | None]) -> tuple[np.ndarray, list[np.ndarray]]:
    """The output, and the gradients of a scalar by the input and by every parameter, stacked."""
    graphdef, state = nnx.split(layers)

    def loss(state: Any, x: Any) -> tuple[Any, Any]:
        y = run_layers(nnx.merge(graphdef, state), x, attention(), call, settings)
        return jnp.square(y).sum(), y

    (_, y), (by_state, by_x) = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))(state, X)
    flat = dict(nnx.to_flat_state(by_state))
    if isinstance(layers, nnx.List):
        gradients = [np.stack([flat[i, "mix", n].get_value() for i in range(LAYERS)]) for n in ("weight", "bias")]
    else:
        gradients = [np.asarray(flat["mix", n].get_value()) for n in ("weight", "bias")]
    return np.asarray(y), [np.asarray(by_x), *gradients]


@pytest.mark.parametrize(
    "settings",
    [(None, None, None), (2, 2, 2), (None, 2, None), (1, 3, 5)],
    ids=["none", "equal", "some", "different"],
)
def test_both_layouts_compute_the_same(settings: tuple[int | None, ...]) -> None:
    unrolled, stacked = both_layouts()
    y, gradients = run(unrolled, settings)
    y_stacked, gradients_stacked = run(stacked, settings)
    np.testing.assert_allclose(y_stacked, y, atol=1e-6, rtol=1e-6)
    for ours, theirs in zip(gradients_stacked, gradients, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=1e-5)
        assert np.abs(theirs).max() > 1e-2


def test_settings_reach_their_own_layer() -> None:
    for layers in both_layouts():
        outputs = [output(layers, settings) for settings in ((1, 3, 5), (5, 3, 1), (None, 3, 5))]
        for i in range(len(outputs)):
            for j in range(i):
                assert not np.allclose(outputs[i], outputs[j], atol=1e-4)


def test_equal_settings_stay_python_values() -> None:
    """So that a kernel can specialise on them."""
    for settings, kinds in (((4, 4, 4), {int}), ((None, None, None), {type(None)}), ((4, None, 4), None)):
        for layers in both_layouts():
            seen: list[Any] = []

            def record(layer: Layer, x: Any, attend: Any, setting: Any, seen: list[Any] = seen) -> Any:
                del attend
                seen.append(setting)
                return layer(x, setting)

            run_layers(layers, jnp.ones((TOKENS, DIM)), attention(), record, settings)
            if kinds is not None:
                assert {type(s) for s in seen} == kinds
            elif isinstance(layers, nnx.List):
                assert seen == list(dict.fromkeys(settings))
            else:
                assert all(isinstance(s, jax.core.Tracer) and s.dtype == jnp.int32 for s in seen)


def test_only_what_is_scored_leaves_the_last_layer() -> None:
    """A list of layers computes nothing else there: what follows attention sees as many rows as there are sequences."""
    for layers in both_layouts():
        rows: list[int] = []

        def picking(layer: Layer, x: Any, attend: Any, setting: Any, rows: list[int] = rows) -> Any:
            y = attend.pick(layer(x, setting))
            rows.append(len(y))
            return y

        everything = run_layers(layers, jnp.asarray(X), attention(), picking, (None,) * LAYERS)
        rows.clear()
        wanted = run_layers(layers, jnp.asarray(X), attention((4,)), picking, (None,) * LAYERS)
        np.testing.assert_allclose(wanted, everything[4:5], atol=1e-6)
        assert rows == ([TOKENS, 1] if isinstance(layers, nnx.List) else [TOKENS])


def test_a_last_layer_that_leaves_all_rows_is_refused() -> None:
    """They would be taken for those of the sequences: scores of other tokens."""
    layers, _ = both_layouts()
    with pytest.raises(ValueError, match="left 6 rows, not one for each of 1 sequences"):
        run_layers(layers, jnp.asarray(X), attention((4,)), call, (None,) * LAYERS)


def test_equal_layers_are_traced_once() -> None:
    programs = {}
    for name, layers in zip(("unrolled", "stacked"), both_layouts(), strict=True):
        graphdef, state = nnx.split(layers)
        programs[name] = (
            jax.jit(lambda s, x, g=graphdef: run_layers(nnx.merge(g, s), x, attention(), call, (None,) * LAYERS))
            .lower(state, jnp.ones((TOKENS, DIM)))
            .as_text()
        )
    assert {name: text.count("stablehlo.dot_general") for name, text in programs.items()} == dict.fromkeys(programs, 1)
    assert programs["unrolled"].count("call @apply") == LAYERS
    assert programs["stacked"].count("stablehlo.while") == 1


def test_every_new_layer_is_its_own() -> None:
    stacked = build_layers(Layer, LAYERS, stacked=True, rngs=nnx.Rngs(0))
    unrolled = build_layers(Layer, LAYERS, stacked=False, rngs=nnx.Rngs(0))
    for weight in (np.asarray(stacked.mix.weight[...]), np.stack([layer.mix.weight[...] for layer in unrolled])):
        assert weight.shape == (LAYERS, DIM, DIM)
        assert not np.allclose(weight[0], weight[1])
        assert not np.allclose(weight[1], weight[2])


@pytest.mark.parametrize("layout", ["unrolled", "stacked"])
def test_one_setting_a_layer(layout: str) -> None:
    unrolled, stacked = both_layouts()
    layers = unrolled if layout == "unrolled" else stacked
    with pytest.raises(ValueError, match=r"."):
        run_layers(layers, jnp.ones((TOKENS, DIM)), attention(), call, (1, 2))


def test_layers_are_applied_in_the_order_given() -> None:
    order = (0, 2, 2, 0)
    for layers in both_layouts():
        graphdef, state = nnx.split(layers)

        def run_in_order(s: Any, x: Any, graphdef: Any = graphdef) -> Any:
            return run_layers(nnx.merge(graphdef, s), x, attention(), call, (1, 3, 5, None), order)

        y = np.asarray(jax.jit(run_in_order)(state, X))
        unrolled, _ = both_layouts()
        expected = jnp.asarray(X)
        for index, setting in zip(order, (1, 3, 5, None), strict=True):
            expected = unrolled[index](expected, setting)
        np.testing.assert_allclose(y, expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("settings", [(None, 2, None), (2, 2, 2), (None, None, None)], ids=str)
def test_a_layer_is_given_what_belongs_to_its_window(settings: tuple[int | None, ...]) -> None:
    everywhere, local = (jnp.zeros(DIM), jnp.ones(1)), (jnp.full(DIM, 5.0), jnp.full(1, 7.0))

    def add(layer: Any, x: Float[Array, "T D"], attend: Any, setting: Any) -> Float[Array, "T D"]:
        del layer, attend
        a, b = by_window(setting, everywhere, local)
        return x * b + a

    expected = X
    for setting in settings:
        expected = expected if setting is None else expected * 7 + 5
    for layers in both_layouts():
        y = run_layers(layers, jnp.asarray(X), attention(), add, settings)
        np.testing.assert_allclose(y, expected, rtol=1e-5)
    assert by_window(3, everywhere, None) is everywhere

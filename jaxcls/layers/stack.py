"""A stack of equal layers, in one of two layouts; the only place that knows the layer axis.

* unrolled: a list, one set of arrays per layer ("layers.0.attn.q.weight"). For CPU, where XLA would copy each layer's
  slice out of a stack on every step.
* stacked: one layer whose arrays have a leading L axis ("layers.attn.q.weight"), run by `lax.scan`. For TPU and GPU,
  where one layer's program is compiled instead of L.
"""

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from jaxcls.layers.attention import Attend

_NO_WINDOW = jnp.iinfo(jnp.int32).max

Kind = TypeVar("Kind", bound=Hashable)


def build_layers(
    make: Callable[[nnx.Rngs], nnx.Module], num_layers: int, *, stacked: bool, rngs: nnx.Rngs
) -> nnx.Module:
    """Makes the layers in the layout asked for; `run_layers` runs either."""
    graphdef, _ = nnx.split(nnx.eval_shape(lambda: make(nnx.Rngs(0))))
    keys = jax.random.split(rngs.params(), num_layers)
    # jit: traced once for all layers.
    init = jax.jit(lambda key: nnx.state(make(nnx.Rngs(key))))
    if stacked:
        return nnx.merge(graphdef, jax.vmap(init)(keys))
    return nnx.List([nnx.merge(graphdef, init(key)) for key in keys])


def build_mixed_layers(
    make: Callable[[Kind, nnx.Rngs], nnx.Module], kinds: Sequence[Kind], *, stacked: bool, rngs: nnx.Rngs
) -> nnx.Module:
    """Makes layers of several kinds, one for each entry of `kinds`; only those of one kind can be stacked."""
    made: dict[Kind, Any] = {
        kind: build_layers(partial(make, kind), kinds.count(kind), stacked=stacked, rngs=rngs)
        for kind in dict.fromkeys(kinds)
    }
    if stacked:
        (layers,) = made.values()
        return layers
    layer = {kind: iter(layers) for kind, layers in made.items()}
    return nnx.List([next(layer[kind]) for kind in kinds])


def run_layers(
    layers: nnx.Module,
    x: Float[Array, "T D"],
    attend: Attend,
    call: Callable[[Any, Float[Array, "T D"], Attend, Any], Float[Array, "rows D"]],
    per_layer: Sequence[int | None],
    order: Sequence[int] | None = None,
) -> Float[Array, "rows D"]:
    """X through every layer: x = call(layer, x, attend, value). Of the last one only the rows of `Attend.pick`.

    In a list of layers the last one need not compute the others; in a scan it is like all and they are dropped.

    Args:
        layers: what `build_layers` made.
        x: packed tokens.
        attend: the step's attention op; each layer is given it with the state that the one before has left.
        call: one layer's application.
        per_layer: one setting a layer (a window). Equal settings stay Python values; a scan over different ones
            passes them as int32 scalars, None as the largest int32.
        order: which of the layers to apply each time, where parameters are used more than once; None: each in turn.

    Raises:
        ValueError: the last one of a list has not picked; its rows would be taken for those of the scored tokens.
    """
    carry = (x, attend.state)

    def one(layer: nnx.Module, before: tuple[Any, Any], value: Any, last: bool = False) -> tuple[Any, Any]:
        own = attend.at(before[1], last=last)
        return call(layer, before[0], own, value), own.state

    if isinstance(layers, nnx.List):
        # jit: traced once for all layers with the same setting (and once for the last if it computes less).
        @partial(jax.jit, static_argnums=(0, 3, 4))
        def apply(
            graphdef: Any, layer_state: Any, before: tuple[Any, Any], value: int | None, last: bool
        ) -> tuple[Any, Any]:
            return one(nnx.merge(graphdef, layer_state), before, value, last)

        used = layers if order is None else [layers[index] for index in order]
        for number, (layer, value) in enumerate(zip(used, per_layer, strict=True), 1):
            last = attend.scored is not None and number == len(used)
            with jax.named_scope("layer"):
                carry = apply(*nnx.split(layer), carry, value, last)
        x, left = carry
        if attend.scored is not None and len(x) != len(attend.scored):
            raise ValueError(f"the last layer left {len(x)} rows, not one for each of {len(attend.scored)} sequences")
    else:
        graphdef, state = nnx.split(layers)
        uniform = len(set(per_layer)) == 1
        values = None if uniform else jnp.array([_NO_WINDOW if v is None else v for v in per_layer], jnp.int32)

        def step(before: tuple[Any, Any], slices: tuple[Any, Any]) -> tuple[tuple[Any, Any], None]:
            chosen, value = slices
            layer_state = chosen if order is None else jax.tree.map(lambda stack: stack[chosen], state)
            return one(nnx.merge(graphdef, layer_state), before, per_layer[0] if uniform else value), None

        (x, left), _ = jax.lax.scan(step, carry, (state if order is None else jnp.array(order), values))
        x = attend.at(left, last=True).pick(x)
    attend.keep(left)
    return x


def by_window(window: int | Int[Array, ""] | None, everywhere: Any, local: Any | None) -> Any:
    """What a layer is given by its window, as `run_layers` passes that: `local` if it has one.

    Args:
        window: of the layer.
        everywhere: arrays of layers with full attention.
        local: the same of layers with a window; None: no different.
    """
    if local is None or window is None:
        return everywhere
    if isinstance(window, int):
        return local
    return jax.tree.map(lambda a, b: jnp.where(window < _NO_WINDOW, a, b), local, everywhere)

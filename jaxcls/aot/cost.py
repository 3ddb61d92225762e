"""What a program computes, and how long a target takes for it."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.extend import core

from jaxcls.aot.targets import Target, sharding_of


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Of one run of a program.

    Attributes:
        flops: of matrix products and of kernels, a multiply-add being two; the steps of loops are counted.
        seconds: how long it takes; None: nothing is known of the target.
        source: "compiler": the sum of its estimates of every operation and the kernels' own; "roofline": the longer of
            arithmetic and memory traffic at the target's peaks, where the compiler estimates nothing or less than that.
    """

    flops: float
    seconds: float | None
    source: str | None


def compile_for(
    call: Callable[..., Any],
    arguments: Sequence[Any],
    mesh: Any,
    compiler_options: dict[str, Any] | None = None,
    **static: Any,
) -> tuple[Any, Any]:
    """A traced and a compiled program.

    Args:
        call: what is jitted, or is jitted already.
        arguments: trees of arrays or of their shapes.
        mesh: of `open_mesh`.
        compiler_options: XLA's.
        **static: arguments that are no arrays.

    Raises:
        jax.errors.JaxRuntimeError: the compiler's, as where memory does not suffice.
    """
    jitted: Any = call if hasattr(call, "trace") else jax.jit(call)
    if mesh is None:
        traced = jitted.trace(*arguments, **static)
        return traced, traced.lower().compile(compiler_options)
    sharding = sharding_of(mesh)

    def place(x: Any) -> jax.ShapeDtypeStruct:
        # A format, which is a layout and a sharding, stays.
        own = getattr(x, "format", None)
        given = own if own is not None and own.layout is not None else sharding
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=given)

    platform = mesh.devices.flat[0].platform
    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
        traced = jitted.trace(*jax.tree.map(place, arguments), **static)
        lowered = traced.lower(lowering_platforms=("cuda" if platform == "gpu" else platform,))
    return traced, lowered.compile(compiler_options)


def estimate(traced: Any, compiled: Any, target: Target, mesh: Any) -> Estimate:
    """What a program that `compile_for` has made costs."""
    flops = operations(traced.jaxpr.jaxpr)
    if target.flops is None or target.bandwidth is None:
        return Estimate(flops, None, None)
    memory = compiled.memory_analysis()
    # Every argument is read and every result written, but for what is changed in place; the rest may stay in the chip.
    traffic = memory.argument_size_in_bytes + memory.output_size_in_bytes - 2 * memory.alias_size_in_bytes
    floor = max(flops / target.flops, traffic / target.bandwidth)
    seconds = _compiler_seconds(compiled)
    if seconds is not None:
        seconds += _repeats(traced.jaxpr.jaxpr, mesh)
    if seconds is None or seconds < floor:
        return Estimate(flops, floor, "roofline")
    return Estimate(flops, seconds, "compiler")


def _compiler_seconds(compiled: Any) -> float | None:
    """The compiler's estimate; it counts -1 for an operation that it has none for, and only there."""
    seconds = (compiled.cost_analysis() or {}).get("optimal_seconds")
    if seconds is None:
        return None
    return seconds + max(math.ceil(-seconds), 0) or None


def _repeats(jaxpr: core.Jaxpr, mesh: Any) -> float:
    """Seconds of loops beyond the first run of their bodies, which is all that the compiler counts."""
    seconds = 0.0
    for equation in jaxpr.eqns:
        for inner in _inner(equation):
            within = _repeats(inner, mesh)
            seconds += within
            if equation.primitive.name == "scan":
                body = equation.params["jaxpr"]
                shapes = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in body.in_avals]
                once = _compiler_seconds(compile_for(core.jaxpr_as_fun(body), shapes, mesh)[1]) or 0.0
                seconds += (equation.params["length"] - 1) * (once + within)
    return seconds


def operations(jaxpr: core.Jaxpr) -> float:
    """Operations of matrix products and of kernels that say what they cost."""
    return sum(_of_equation(equation) for equation in jaxpr.eqns)


def _of_equation(equation: Any) -> float:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        size = math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
        return 2.0 * equation.outvars[0].aval.size * size
    if _is_kernel(equation):
        cost = params["cost_estimate"]
        return 0.0 if cost is None else float(cost.flops)
    inner = [operations(jaxpr) for jaxpr in _inner(equation)]
    if name == "cond":
        return max(inner, default=0.0)
    return sum(inner) * (params["length"] if name == "scan" else 1)


def _inner(equation: Any) -> list[core.Jaxpr]:
    """What an operation is made of; of ways where one is a kernel, that one: it is the way of the platform."""
    if _is_kernel(equation):
        return []
    values = [item for value in equation.params.values() for item in (value if isinstance(value, tuple) else (value,))]
    closed = [item.jaxpr if isinstance(item, core.ClosedJaxpr) else item for item in values]
    inner = [item for item in closed if isinstance(item, core.Jaxpr)]
    if equation.primitive.name == "cond":
        return [jaxpr for jaxpr in inner if _has_kernel(jaxpr)] or inner
    return inner


def _has_kernel(jaxpr: core.Jaxpr) -> bool:
    return any(_is_kernel(equation) or any(map(_has_kernel, _inner(equation))) for equation in jaxpr.eqns)


def _is_kernel(equation: Any) -> bool:
    """Whether it is written in Pallas: `pallas_call`, or what `pl.kernel` becomes in a version of JAX."""
    return "cost_estimate" in equation.params

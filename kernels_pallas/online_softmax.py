"""What the TPU attention kernels have in common: softmax over keys that come block by block."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array, Bool, Float

# Finite: a query that has seen no key yet has the mean of what it did not see, which its first key's exp wipes out.
MASKED = -1e30


def scratch(heads: int, rows: int, head_dim: int) -> list[Any]:
    """Memory for the running state of some key heads: the largest scores, the sums of weights, the weighted values."""
    return [pltpu.VMEM((heads, rows, width), jnp.float32) for width in (1, 1, head_dim)]


def start(maximum: Any, total: Any, weighted: Any) -> None:
    """Empties the running state: refs of [rows, 1], [rows, 1] and [rows, H], float32."""
    maximum[...] = jnp.full_like(maximum, MASKED)
    total[...] = jnp.zeros_like(total)
    weighted[...] = jnp.zeros_like(weighted)


def add_keys(
    q: Float[Array, "G Q H"],
    k: Float[Array, "B H"],
    v: Float[Array, "B H"],
    mask: Bool[Array, "Q B"],
    maximum: Any,
    total: Any,
    weighted: Any,
    *,
    scale: float,
    soft_cap: float | None,
) -> None:
    """Takes one block of keys into the running state of the queries.

    The G heads that share the keys are rows of one product; the state is [G * Q, ...].
    """
    group, queries, head_dim = q.shape
    precision = jax.lax.Precision.HIGHEST if q.dtype == jnp.float32 else jax.lax.Precision.DEFAULT
    rows = q.reshape(group * queries, head_dim)
    contract_last = (((1,), (1,)), ((), ()))
    scores = scale * jax.lax.dot_general(
        rows, k, contract_last, precision=precision, preferred_element_type=jnp.float32
    )
    if soft_cap is not None:
        scores = soft_cap * jnp.tanh(scores / soft_cap)
    scores = jnp.where(mask[None], scores.reshape(group, queries, -1), MASKED).reshape(group * queries, -1)
    before = maximum[...]
    highest = jnp.maximum(before, scores.max(axis=1, keepdims=True))
    weights = jnp.exp(scores - highest)
    shrink = jnp.exp(before - highest)
    maximum[...] = highest
    total[...] = shrink * total[...] + weights.sum(axis=1, keepdims=True)
    product = jnp.dot(weights.astype(v.dtype), v, precision=precision, preferred_element_type=jnp.float32)
    weighted[...] = shrink * weighted[...] + product


def finish(total: Any, weighted: Any) -> Float[Array, "rows H"]:
    """The mean of the values that were seen; zeros where there were none."""
    seen = total[...]
    return weighted[...] / jnp.where(seen == 0.0, 1.0, seen)


def is_first(order: Any, step: Any) -> Any:
    """Whether a step of the grid is the first of those that have its entry of `order` (ascending)."""
    return (step == 0) | (order[step] != order[jnp.maximum(step - 1, 0)])


def is_last(order: Any, step: Any, axis: int) -> Any:
    """Whether a step of the grid is the last of those that have its entry of `order` (ascending)."""
    end = pl.num_programs(axis) - 1
    return (step == end) | (order[step] != order[jnp.minimum(step + 1, end)])

"""Kernels compute attention, XLA its gradient."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array, Float

from kernels_pallas.varlen_attention import xla

RowGroups = tuple[tuple[int, int], ...]


@dataclasses.dataclass(frozen=True)
class Options:
    """What is static of a call; each kernel adds its own."""

    row_groups: RowGroups
    scale: float
    causal: bool
    soft_cap: float | None


Attend = Callable[..., Float[Array, "Q N H"]]


def through_xla(attend: Attend) -> Attend:
    """A kernel (q, k, v, segment_ids, key_segment_ids, window, query_tokens, options), differentiable by q, k and v.

    `key_segment_ids`, `window` and `query_tokens` may be None where the kernel takes that.
    """

    def forward(*arguments: Any) -> tuple[Float[Array, "Q N H"], tuple[Any, ...]]:
        return attend(*arguments), arguments[:7]

    def backward(
        options: Options, saved: tuple[Any, ...], gradient: Float[Array, "Q N H"]
    ) -> tuple[jax.Array | None, ...]:
        q, k, v, segment_ids, key_segment_ids, window, query_tokens = saved

        def plain(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
            return xla.varlen_attention(
                q,
                k,
                v,
                segment_ids,
                row_groups=options.row_groups,
                scale=options.scale,
                causal=options.causal,
                window=window,
                soft_cap=options.soft_cap,
                key_segment_ids=key_segment_ids,
                query_tokens=query_tokens,
            )

        # Whole numbers have no gradient.
        return *jax.vjp(plain, q, k, v)[1](gradient), None, None, None, None

    call: Any = jax.custom_vjp(attend, nondiff_argnums=(7,))
    call.defvjp(forward, backward)
    return call

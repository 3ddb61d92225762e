"""The op in plain XLA, for every backend."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def norm(
    x: Float[Array, "*batch D"],
    weight: Float[Array, " D"],
    bias: Float[Array, " D"] | None,
    *,
    eps: float,
    centred: bool,
) -> Float[Array, "*batch D"]:
    """See `kernels_pallas.norm.api.norm`."""
    y = x.astype(jnp.float32)
    if centred:
        y = y - y.mean(axis=-1, keepdims=True)
    y = y * (jnp.square(y).mean(axis=-1, keepdims=True) + eps) ** -0.5 * weight
    return y if bias is None else y + bias

"""LayerNorm and RMSNorm in two float32 passes.

flax's default computes the variance as E[x^2] - E[x]^2, which cancels where the mean is large.
"""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float


class LayerNorm(nnx.Module):
    """(x - mean) / sqrt(var + eps) * weight + bias over the last axis."""

    def __init__(self, dim: int, *, eps: float, bias: bool = True):
        self.eps = eps
        self.weight = nnx.Param(jnp.ones((dim,), jnp.float32))
        self.bias = nnx.Param(jnp.zeros((dim,), jnp.float32)) if bias else None

    def __call__(self, x: Float[Array, "*batch D"]) -> Float[Array, "*batch D"]:
        """Normalises in float32."""
        y = x.astype(jnp.float32)
        y = y - y.mean(axis=-1, keepdims=True)
        y = y * (jnp.square(y).mean(axis=-1, keepdims=True) + self.eps) ** -0.5
        y = y * self.weight[...]
        return y if self.bias is None else y + self.bias[...]


class RMSNorm(nnx.Module):
    """x / sqrt(mean(x^2) + eps) * (offset + weight) over the last axis; Gemma stores weight with offset 1."""

    def __init__(self, dim: int, *, eps: float, offset: float = 0.0):
        self.eps = eps
        self.offset = offset
        self.weight = nnx.Param(jnp.full((dim,), 1.0 - offset, jnp.float32))

    def __call__(self, x: Float[Array, "*batch D"]) -> Float[Array, "*batch D"]:
        """Normalises in float32."""
        y = x.astype(jnp.float32)
        y = y * (jnp.square(y).mean(axis=-1, keepdims=True) + self.eps) ** -0.5
        return y * (self.offset + self.weight[...])

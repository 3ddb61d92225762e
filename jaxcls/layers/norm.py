"""LayerNorm and RMSNorm in float32."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from kernels_pallas.norm import norm


class LayerNorm(nnx.Module):
    """(x - mean) / sqrt(var + eps) * weight + bias over the last axis."""

    def __init__(self, dim: int, *, eps: float, bias: bool = True):
        self.eps = eps
        self.weight = nnx.Param(jnp.ones((dim,), jnp.float32))
        self.bias = nnx.Param(jnp.zeros((dim,), jnp.float32)) if bias else None

    def __call__(self, x: Float[Array, "*batch D"]) -> Float[Array, "*batch D"]:
        """Normalises in float32."""
        bias = None if self.bias is None else self.bias[...]
        return norm(x, self.weight[...], bias, eps=self.eps, centred=True)


class RMSNorm(nnx.Module):
    """x / sqrt(mean(x^2) + eps) * (offset + weight) over the last axis; Gemma stores weight with offset 1."""

    def __init__(self, dim: int, *, eps: float, offset: float = 0.0):
        self.eps = eps
        self.offset = offset
        self.weight = nnx.Param(jnp.full((dim,), 1.0 - offset, jnp.float32))

    def __call__(self, x: Float[Array, "*batch D"]) -> Float[Array, "*batch D"]:
        """Normalises in float32."""
        weight = self.weight[...] if self.offset == 0 else self.offset + self.weight[...]
        return norm(x, weight, eps=self.eps, centred=False)

"""Linear layers and embeddings, with the weights as checkpoints store them."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int


def matmul_precision(dtype: DTypeLike) -> jax.lax.Precision:
    """float32 means float32: TPUs and recent GPUs would otherwise multiply in fewer bits."""
    return jax.lax.Precision.HIGHEST if dtype == jnp.float32 else jax.lax.Precision.DEFAULT


class Linear(nnx.Module):
    """y = x W^T + b, with W [out, in].

    Products accumulate in float32 whatever the dtype: without that, XLA on CPU
    converts both bfloat16 operands, weights included, to float32 in every call.
    """

    def __init__(self, in_dim: int, out_dim: int, *, bias: bool, dtype: DTypeLike, rngs: nnx.Rngs):
        self.weight = nnx.Param(0.02 * jax.random.normal(rngs.params(), (out_dim, in_dim), dtype))
        self.bias = nnx.Param(jnp.zeros((out_dim,), dtype)) if bias else None

    def __call__(self, x: Float[Array, "*batch in"]) -> Float[Array, "*batch out"]:
        """Applies the layer to the last axis; the result has x's dtype."""
        y = jax.lax.dot_general(
            x,
            self.weight[...],
            (((x.ndim - 1,), (1,)), ((), ())),
            precision=matmul_precision(x.dtype),
            preferred_element_type=jnp.float32,
        )
        if self.bias is not None:
            y = y + self.bias[...].astype(jnp.float32)
        return y.astype(x.dtype)


class Embedding(nnx.Module):
    """A lookup table [V, D]."""

    def __init__(self, num_embeddings: int, dim: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.weight = nnx.Param(0.02 * jax.random.normal(rngs.params(), (num_embeddings, dim), dtype))

    def __call__(self, ids: Int[Array, " T"]) -> Float[Array, "T D"]:
        """Looks ids up. Out-of-range ids are the caller's error: XLA would clamp them silently."""
        return self.weight[...][ids]

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
    """y = x W^T + b, with W [out, in]. x is rounded to W's dtype; y is float32.

    Products accumulate in float32 whatever the dtype (without that, XLA on CPU converts both bfloat16 operands,
    weights included, to float32 in every call), and what follows them until the next product stays float32: it is
    more accurate and costs nothing, because only products are slow.
    """

    def __init__(self, in_dim: int, out_dim: int, *, bias: bool, dtype: DTypeLike, rngs: nnx.Rngs):
        self.weight = nnx.Param(0.02 * jax.random.normal(rngs.params(), (out_dim, in_dim), dtype))
        self.bias = nnx.Param(jnp.zeros((out_dim,), dtype)) if bias else None

    def __call__(self, x: Float[Array, "*batch in"]) -> Float[Array, "*batch out"]:
        """Applies the layer to the last axis."""
        weight = self.weight[...]
        y = jax.lax.dot_general(
            x.astype(weight.dtype),
            weight,
            (((x.ndim - 1,), (1,)), ((), ())),
            precision=matmul_precision(weight.dtype),
            preferred_element_type=jnp.float32,
        )
        return y if self.bias is None else y + self.bias[...].astype(jnp.float32)


class Embedding(nnx.Module):
    """A lookup table [V, D]."""

    def __init__(self, num_embeddings: int, dim: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.weight = nnx.Param(0.02 * jax.random.normal(rngs.params(), (num_embeddings, dim), dtype))

    def __call__(self, ids: Int[Array, " T"]) -> Float[Array, "T D"]:
        """Looks ids up, in float32. Out-of-range ids are the caller's error: XLA would clamp them silently."""
        return self.weight[...][ids].astype(jnp.float32)

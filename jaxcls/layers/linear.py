"""Linear layers and embeddings, with the weights as checkpoints store them."""

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Num

from jaxcls.layers.activation import FUSED
from jaxcls.layers.activation import activation as activation_function
from kernels_pallas.linear import linear
from kernels_pallas.mlp import Matrix


class Linear(nnx.Module):
    """y = x W^T + b, with W [out, in]. x is rounded to `dtype`; y is float32.

    What follows a product until the next one stays float32: it is more accurate and costs nothing, because only
    products are slow.

    Attributes:
        weight: W; or, in int8, W / scale, where W is quantised.
        scale: None; or, in float32, what each row of a quantised weight is multiplied by.
        bias: b, or None.
        dtype: what x and W are multiplied in.
        int8_inputs: whether x is rounded to int8 too, and the product is one of whole numbers.
    """

    def __init__(self, in_dim: int, out_dim: int, *, bias: bool, dtype: DTypeLike, rngs: nnx.Rngs):
        self.dtype = jnp.dtype(dtype)
        self.int8_inputs = False
        self.weight = nnx.Param(0.02 * jax.random.normal(rngs.params(), (out_dim, in_dim), dtype))
        self.scale: nnx.Param | None = nnx.data(None)
        self.bias = nnx.Param(jnp.zeros((out_dim,), dtype)) if bias else None

    def __call__(
        self,
        x: Float[Array, "*batch in"],
        *,
        activation: str | None = None,
        residual: Float[Array, "*batch out"] | None = None,
        num_tokens: Int[Array, ""] | None = None,
        out_dtype: DTypeLike = jnp.float32,
    ) -> Float[Array, "*batch out"]:
        """Applies the layer to the last axis.

        Args:
            x: inputs.
            activation: by its name in config.json, applied to the result.
            residual: is added to the activated result.
            num_tokens: rows from this one on are padding and need not be computed; None: there is none.
            out_dtype: of y; `self.dtype` where a product takes the result: it would be rounded there.
        """
        fused = FUSED.get(activation or "linear")
        call = partial(linear, x, *self.matrix(), int8_inputs=self.int8_inputs, dtype=self.dtype)
        if fused is not None:
            return call(residual, num_tokens, activation=fused, out_dtype=out_dtype)
        assert activation is not None
        y = activation_function(activation)(call(num_tokens=num_tokens))
        return (y if residual is None else y + residual).astype(out_dtype)

    def matrix(self, rows: tuple[Int[Array, ""], int] | None = None) -> Matrix:
        """What is multiplied by; `rows`: the first row of W and how many, where not all of the outputs are wanted."""
        weight, scale, bias = (
            None if parameter is None else _rows(parameter[...], rows)
            for parameter in (self.weight, self.scale, self.bias)
        )
        assert weight is not None  # scale and bias may be
        return Matrix(weight, scale, bias)

    def quantise(self, *, int8_inputs: bool) -> None:
        """Makes room for an int8 weight and its scales in the weight's place; all are zero."""
        self.int8_inputs = int8_inputs
        shape = self.weight.shape  # of a stack: [L, out, in]
        self.weight = nnx.Param(jnp.zeros(shape, jnp.int8))
        self.scale = nnx.Param(jnp.zeros(shape[:-1], jnp.float32))


def _rows(parameter: Num[Array, "all *in"], rows: tuple[Int[Array, ""], int] | None) -> Num[Array, "part *in"]:
    return parameter if rows is None else jax.lax.dynamic_slice_in_dim(parameter, *rows)


def quantise_layers(model: nnx.Module, *, int8_inputs: bool) -> None:
    """Quantises what int8 is for: every Linear of the layers. Embeddings, norms and head stay as they are."""
    modules = [module for path, module in nnx.iter_modules(model) if path[:1] == ("layers",)]
    for module in modules:
        if isinstance(module, Linear):
            module.quantise(int8_inputs=int8_inputs)


class Embedding(nnx.Module):
    """A lookup table.

    Attributes:
        weight: [V, D], a row for each id.
        looked_up: the table is elsewhere, and `weight` has the rows of this call's ids, [T, D].
    """

    def __init__(self, num_embeddings: int, dim: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.looked_up = False
        self.weight = nnx.Param(0.02 * jax.random.normal(rngs.params(), (num_embeddings, dim), dtype))

    def __call__(self, ids: Int[Array, " T"]) -> Float[Array, "T D"]:
        """Looks ids up, in float32. Out-of-range ids are the caller's error: XLA would clamp them silently."""
        weight = self.weight[...]
        return (weight if self.looked_up else weight[ids]).astype(jnp.float32)

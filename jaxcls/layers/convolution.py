"""A convolution over the tokens of a sequence."""

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jaxcls.layers.linear import Linear


class TokenConvolution(nnx.Module):
    """act(conv(x)): each token with its neighbours on both sides, zeros beyond the ends of its own sequence.

    A product with weight [D, D * width]: the neighbours of a token side by side, width the fastest axis, which is how
    a checkpoint's [D, D, width] lies in memory.
    """

    def __init__(self, dim: int, *, width: int, act: str, dtype: DTypeLike, rngs: nnx.Rngs):
        self.width, self.act = width, act
        self.linear = Linear(dim * width, dim, bias=True, dtype=dtype, rngs=rngs)

    def __call__(
        self, x: Float[Array, "T D"], segment_ids: Int[Array, " T"], num_tokens: Int[Array, ""]
    ) -> Float[Array, "T D"]:
        """Applies the layer to every token; `segment_ids` say whose neighbours are whose."""
        beyond = self.width // 2
        tokens = jnp.pad(x, ((beyond, beyond), (0, 0)))
        owners = jnp.pad(segment_ids, beyond, constant_values=-1)
        neighbours = [
            jnp.where((owners[at : at + len(x)] == segment_ids)[:, None], tokens[at : at + len(x)], 0.0)
            for at in range(self.width)
        ]
        side_by_side = jnp.stack(neighbours, axis=-1).reshape(len(x), -1)
        return self.linear(side_by_side, activation=self.act, num_tokens=num_tokens)

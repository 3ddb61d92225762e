"""The two feed-forward shapes: plain (up, down) and gated (gate, up, down)."""

from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jaxcls.layers.linear import Linear


class MLP(nnx.Module):
    """down(act(up x)), or down(act(gate x) * up x) when gated."""

    def __init__(
        self,
        dim: int,
        mlp_dim: int,
        *,
        act: str,
        gated: bool,
        bias: bool,
        down_bias: bool | None = None,  # None: as the others
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        self.act = act
        self.gate = Linear(dim, mlp_dim, bias=bias, dtype=dtype, rngs=rngs) if gated else None
        self.up = Linear(dim, mlp_dim, bias=bias, dtype=dtype, rngs=rngs)
        self.down = Linear(mlp_dim, dim, bias=bias if down_bias is None else down_bias, dtype=dtype, rngs=rngs)

    def __call__(
        self,
        x: Float[Array, "T D"],
        num_tokens: Int[Array, ""] | None = None,
        residual: Float[Array, "T D"] | None = None,
    ) -> Float[Array, "T D"]:
        """Applies the block to every token and adds `residual`; rows from `num_tokens` on are padding."""
        gate = None
        if self.gate is not None:
            gate = self.gate(x, activation=self.act, num_tokens=num_tokens)
        activation = self.act if gate is None else None
        hidden = self.up(x, activation=activation, factor=gate, num_tokens=num_tokens, out_dtype=self.down.dtype)
        return self.down(hidden, num_tokens=num_tokens, residual=residual)

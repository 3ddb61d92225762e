"""The two feed-forward shapes: plain (up, down) and gated (gate, up, down)."""

from functools import partial
from typing import Any

from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jaxcls.layers.activation import FUSED, activation
from jaxcls.layers.linear import Linear
from kernels_pallas.linear import linear
from kernels_pallas.mlp import Matrix, mlp


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
        gate = None if self.gate is None else self.gate.matrix()
        options: Any = {"int8_inputs": self.up.int8_inputs, "dtype": self.up.dtype}
        return feed_forward(
            x, self.up.matrix(), self.down.matrix(), gate, residual, num_tokens, act=self.act, **options
        )


def feed_forward(
    x: Float[Array, "T D"],
    up: Matrix,
    down: Matrix,
    gate: Matrix | None,
    residual: Float[Array, "T D"] | None,
    num_tokens: Int[Array, ""] | None,
    *,
    act: str,
    int8_inputs: bool,
    dtype: DTypeLike,
) -> Float[Array, "T D"]:
    """`kernels_pallas.mlp.mlp` with any of transformers' activations, by its name in config.json."""
    options: Any = {"int8_inputs": int8_inputs, "dtype": dtype}
    if act in FUSED:
        return mlp(x, up, down, gate, residual, num_tokens, activation=FUSED[act], **options)
    layer = partial(linear, num_tokens=num_tokens, **options)
    activate = activation(act)
    hidden = activate(layer(x, *up)) if gate is None else activate(layer(x, *gate)) * layer(x, *up)
    return layer(hidden, *down, residual=residual)

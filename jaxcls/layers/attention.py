"""Multi-head attention over packed tokens; layout and masking are the business of the `attend` it is given."""

from functools import partial
from typing import Any, Protocol, runtime_checkable

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jaxcls.layers.linear import Linear
from jaxcls.layers.norm import RMSNorm
from kernels_pallas.rotate import rotate

Rotation = tuple[Float[Array, "T half"], Float[Array, "T half"]]


@runtime_checkable
class Attend(Protocol):
    """One step's attention op: knows the packing, the scale and the direction, not the weights."""

    @property
    def num_tokens(self) -> Int[Array, ""]:
        """Where the last sequence of the step ends; what follows is padding."""
        ...

    @property
    def scored(self) -> Int[Array, " S"] | None:
        """The token of each sequence whose result is wanted; None: all are, as in every layer but the last."""
        ...

    def pick(self, x: Float[Array, "T *dims"]) -> Float[Array, "rows *dims"]:
        """Of the tokens those whose result is wanted: `scored`."""
        ...

    @property
    def num_picked(self) -> Int[Array, ""]:
        """How many rows `pick` leaves; what follows is padding."""
        ...

    def rows(self, x: Float[Array, "T *dims"]) -> Float[Array, "rows R *dims"]:
        """Tokens by the rows they lie in; what depends on pairs of tokens (a bias) is computed row by row."""
        ...

    @property
    def state(self) -> Any:
        """What attention hands from one layer to the next, a tree of arrays; calling the op changes it."""
        ...

    def at(self, state: Any, *, last: bool = False) -> "Attend":
        """The op of the layer that is handed a state. Unless it is the `last`, the results of all tokens are wanted."""
        ...

    def keep(self, state: Any) -> None:
        """Takes the state that the last layer leaves."""
        ...

    def __call__(
        self,
        q: Float[Array, "rows N H"],
        k: Float[Array, "T K H"],
        v: Float[Array, "T K H"],
        *,
        window: int | Int[Array, ""] | None,
        bias: Float[Array, "row N R R"] | None = None,
    ) -> Float[Array, "rows N H"]:
        """Attends within each sequence, from the tokens that `pick` leaves; `bias` is added to the scaled scores."""
        ...


class Attention(nnx.Module):
    """Projections around an attention op: MHA, GQA and MQA; optional biases and per-head q/k RMSNorm (Qwen3)."""

    def __init__(
        self,
        dim: int,
        *,
        num_heads: int,
        num_kv_heads: int,
        head_dim: int,
        qkv_bias: bool,
        out_bias: bool,
        qk_norm_eps: float | None = None,
        norm_offset: float = 0.0,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        self.head_dim = head_dim
        self.q = Linear(dim, num_heads * head_dim, bias=qkv_bias, dtype=dtype, rngs=rngs)
        self.k = Linear(dim, num_kv_heads * head_dim, bias=qkv_bias, dtype=dtype, rngs=rngs)
        self.v = Linear(dim, num_kv_heads * head_dim, bias=qkv_bias, dtype=dtype, rngs=rngs)
        self.o = Linear(num_heads * head_dim, dim, bias=out_bias, dtype=dtype, rngs=rngs)
        norm = partial(RMSNorm, head_dim, offset=norm_offset)
        self.q_norm = None if qk_norm_eps is None else norm(eps=qk_norm_eps)
        self.k_norm = None if qk_norm_eps is None else norm(eps=qk_norm_eps)

    def __call__(
        self,
        x: Float[Array, "T D"],
        attend: Attend,
        *,
        residual: Float[Array, "T D"] | None = None,
        rotation: Rotation | None = None,
        window: int | Int[Array, ""] | None = None,
        bias: Float[Array, "row N R R"] | None = None,
        divisor: int | Int[Array, ""] | None = None,
    ) -> Float[Array, "rows D"]:
        """Attends; the result has the rows that `attend.pick` leaves.

        Args:
            x: tokens.
            attend: the step's attention op.
            residual: is added to the result.
            rotation: rope's (cos, sin); None for models with absolute positions.
            window: see `Attend`.
            bias: see `Attend`.
            divisor: of this layer's scores.
        """
        dtype, count, picked = self.o.dtype, attend.num_tokens, attend.pick(x)
        # What a norm, a rotation or a divisor follows is rounded after it.
        exact = dtype if rotation is None and self.q_norm is None and divisor is None else jnp.float32
        q = self.q(picked, num_tokens=attend.num_picked, out_dtype=exact).reshape(len(picked), -1, self.head_dim)
        k = self.k(x, num_tokens=count, out_dtype=exact).reshape(len(x), -1, self.head_dim)
        v = self.v(x, num_tokens=count, out_dtype=dtype).reshape(len(x), -1, self.head_dim)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        if rotation is not None:
            turned = dtype if divisor is None else jnp.float32
            cos, sin = rotation
            q = rotate(q, attend.pick(cos), attend.pick(sin), out_dtype=turned)
            k = rotate(k, cos, sin, out_dtype=turned)
        if divisor is not None:
            q = q / divisor
        out = attend(q.astype(dtype), k.astype(dtype), v, window=window, bias=bias)
        residual = None if residual is None else attend.pick(residual)
        return self.o(out.reshape(len(out), -1), num_tokens=attend.num_picked, residual=residual)

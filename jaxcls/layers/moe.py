"""Mixtures of experts: each token goes through the few feed-forward blocks that a router picks for it."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jaxcls.layers.linear import Linear
from jaxcls.layers.mlp import MLP, feed_forward

_TILES = (16, 256)  # least and most tokens of one expert that are multiplied at once


@dataclasses.dataclass(frozen=True)
class MixtureConfig:
    """A mixture's sizes.

    Attributes:
        num_experts: how many blocks there are.
        top_k: how many of them a token goes through.
        mlp_dim: width F of each.
        normalise: whether the weights of those picked are made to add up to 1 (norm_topk_prob).
        shared_dim: width of a block that all tokens go through, times a gate of its own (Qwen2-MoE); None: none.
    """

    num_experts: int
    top_k: int
    mlp_dim: int
    normalise: bool = False
    shared_dim: int | None = None


class Mixture(nnx.Module):
    """sum of p_e expert_e(x) over the top k of p = softmax(router x), + sigmoid(shared_gate x) shared(x)."""

    def __init__(self, dim: int, cfg: MixtureConfig, *, act: str, dtype: DTypeLike, rngs: nnx.Rngs):
        self.cfg = cfg
        self.router = Scores(dim, cfg.num_experts, rngs=rngs)
        self.experts = Experts(dim, cfg, act=act, dtype=dtype, rngs=rngs)
        if cfg.shared_dim is None:
            self.shared, self.shared_gate = None, None
        else:
            self.shared = MLP(dim, cfg.shared_dim, act=act, gated=True, bias=False, dtype=dtype, rngs=rngs)
            self.shared_gate = Scores(dim, 1, rngs=rngs)

    def __call__(
        self,
        x: Float[Array, "T D"],
        num_tokens: Int[Array, ""] | None = None,
        residual: Float[Array, "T D"] | None = None,
    ) -> Float[Array, "T D"]:
        """Applies the block to every token and adds `residual`; rows from `num_tokens` on are padding."""
        shares, picked = jax.lax.top_k(jax.nn.softmax(self.router(x), axis=-1), self.cfg.top_k)
        if self.cfg.normalise:
            shares = shares / shares.sum(axis=-1, keepdims=True)
        y = self.experts(x, picked, shares, num_tokens)
        if self.shared is not None and self.shared_gate is not None:
            y = y + jax.nn.sigmoid(self.shared_gate(x)) * self.shared(x, num_tokens)
        return y if residual is None else y + residual


class Scores(nnx.Module):
    """x W^T in float32 whatever the model's dtype: what picks experts is never rounded or quantised."""

    def __init__(self, dim: int, out_dim: int, *, rngs: nnx.Rngs):
        self.weight = nnx.Param(0.02 * jax.random.normal(rngs.params(), (out_dim, dim), jnp.float32))

    def __call__(self, x: Float[Array, "T D"]) -> Float[Array, "T E"]:
        """Applies the layer to every token."""
        return jnp.matmul(x.astype(jnp.float32), self.weight[...].T, precision=jax.lax.Precision.HIGHEST)


class Experts(nnx.Module):
    """E gated blocks, down(act(gate x) * up x), of which a token goes through those picked for it.

    Their matrices lie one below the other: `gate_up` is [E 2F, D], of each expert first gate, then up; `down` is
    [E D, F]. They are quantised like those of any Linear.

    Tokens are sorted by expert and cut into tiles of one expert each. A tile is about as long as an average expert's
    share: shorter ones would slice an expert's matrices out more often, longer ones be mostly empty. Tiles without
    tokens are not computed, and where there is a kernel, nor are the empty rows of the others.
    """

    def __init__(self, dim: int, cfg: MixtureConfig, *, act: str, dtype: DTypeLike, rngs: nnx.Rngs):
        self.act, self.num_experts, self.mlp_dim = act, cfg.num_experts, cfg.mlp_dim
        self.gate_up = Linear(dim, cfg.num_experts * 2 * cfg.mlp_dim, bias=False, dtype=dtype, rngs=rngs)
        self.down = Linear(cfg.mlp_dim, cfg.num_experts * dim, bias=False, dtype=dtype, rngs=rngs)

    def __call__(
        self,
        x: Float[Array, "T D"],
        picked: Int[Array, "T k"],
        shares: Float[Array, "T k"],
        num_tokens: Int[Array, ""] | None = None,
    ) -> Float[Array, "T D"]:
        """Sum of shares[t, i] * expert picked[t, i] of x[t] over i; 0 for rows from `num_tokens` on."""
        plan = _plan(picked, self.num_experts, len(x) if num_tokens is None else num_tokens)
        flat_shares, top_k = shares.reshape(-1), picked.shape[1]

        def step(y: Float[Array, "T D"], tile: _Tile) -> tuple[Float[Array, "T D"], None]:
            used = jnp.arange(plan.tile_len) < tile.count
            pairs = jax.lax.dynamic_slice_in_dim(plan.order, tile.first, plan.tile_len)
            tokens = pairs // top_k

            def compute() -> Float[Array, "tile D"]:
                return self._expert(x[tokens], tile.expert, tile.count) * flat_shares[pairs][:, None]

            def nothing() -> Float[Array, "tile D"]:
                return jnp.zeros((plan.tile_len, x.shape[1]), jnp.float32)

            out = jax.lax.cond(tile.count > 0, compute, nothing)
            # Rows that are no tokens fall outside; an expert is picked once by a token, so no row is there twice.
            places = jnp.where(used, tokens, len(x) + jnp.arange(plan.tile_len))
            return y.at[places].add(out, mode="drop", unique_indices=True), None

        y, _ = jax.lax.scan(step, jnp.zeros(x.shape, jnp.float32), plan.tiles)
        return y

    def _expert(
        self, x: Float[Array, "tile D"], expert: Int[Array, ""], count: Int[Array, ""]
    ) -> Float[Array, "tile D"]:
        """One expert's block, of the first `count` rows."""
        width, dim = self.mlp_dim, x.shape[1]
        gate_rows, up_rows = (2 * expert * width, width), ((2 * expert + 1) * width, width)
        gate, up = self.gate_up.matrix(gate_rows), self.gate_up.matrix(up_rows)
        down = self.down.matrix((expert * dim, dim))
        options: Any = {"int8_inputs": self.down.int8_inputs, "dtype": self.down.dtype}
        return feed_forward(x, up, down, gate, None, count, act=self.act, **options)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Tile:
    """Tiles: which expert, and the first pair and how many of them in the sorted order."""

    expert: Int[Array, "*tiles"]
    first: Int[Array, "*tiles"]
    count: Int[Array, "*tiles"]


@dataclasses.dataclass(frozen=True)
class _Plan:
    """Pairs (token, pick) in the order of their experts, and the tiles they are cut into."""

    order: Int[Array, " pairs"]
    tiles: _Tile
    tile_len: int


def _plan(picked: Int[Array, "T k"], num_experts: int, num_tokens: int | Int[Array, ""]) -> _Plan:
    num_pairs = picked.size
    tile_len = min(max(_TILES[0], 1 << (num_pairs // num_experts - 1).bit_length()), _TILES[1])
    # Padding belongs to no expert and comes last.
    real = jnp.arange(len(picked)) < num_tokens
    expert_of = jnp.where(real[:, None], picked, num_experts).reshape(-1)
    order = jnp.argsort(expert_of, stable=True)
    sizes = (expert_of[:, None] == jnp.arange(num_experts)).sum(axis=0, dtype=jnp.int32)
    starts = jnp.cumsum(sizes) - sizes
    tiles = (sizes + tile_len - 1) // tile_len
    ends = jnp.cumsum(tiles)
    # No expert's last tile is empty, so there are never more.
    index = jnp.arange(num_pairs // tile_len + min(num_experts, num_pairs), dtype=jnp.int32)
    expert = jnp.minimum(jnp.searchsorted(ends, index, side="right"), num_experts - 1).astype(jnp.int32)
    offset = (index - (ends - tiles)[expert]) * tile_len
    count = jnp.clip(sizes[expert] - offset, 0, tile_len)
    # A slice that reached beyond the end would be moved.
    order = jnp.pad(order, (0, tile_len))
    return _Plan(order, _Tile(expert, starts[expert] + offset, count), tile_len)

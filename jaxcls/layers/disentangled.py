"""Disentangled attention (DeBERTa, arXiv:2006.03654): words attend to words and to relative positions.

score(i, j) = (q_i . k_j + q_i . pos_k(i - j) + k_j . pos_q(i - j)) * scale, where pos_k and pos_q are projections of
one table of relative positions. The two position terms depend on the words, so they are a bias that every layer
computes for itself; which row of the table belongs to a pair depends on their distance alone.
"""

import dataclasses
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jaxcls.layers.attention import Attend
from jaxcls.layers.linear import Linear
from jaxcls.layers.norm import LayerNorm

RelativeKind = Literal["c2p", "p2c"]


@dataclasses.dataclass(frozen=True)
class RelativeConfig:
    """A table of 2 span rows: distances -span ... span - 1; what is further away shares the outermost row.

    Attributes:
        kinds: the terms that there are: queries with positions of keys ("c2p"), keys with positions of queries ("p2c").
        max_distance: the span where there are no buckets.
        num_buckets: the span where distances share rows (DeBERTa v2): those up to half of it have rows of their own,
            the others, up to max_distance, rows by their logarithm. 0: there are no buckets.
    """

    kinds: tuple[RelativeKind, ...]
    max_distance: int
    num_buckets: int = 0

    @property
    def span(self) -> int:
        """Half the rows of the table."""
        return self.num_buckets or self.max_distance

    def rows(self, distances: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        """The row of each distance, position of the query minus position of the key."""
        return np.clip(self._bucket(distances) + self.span, 0, 2 * self.span - 1)

    def _bucket(self, distances: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        """Float32, as the models were trained: rounding decides where a bucket ends."""
        if not self.num_buckets:
            return distances
        middle = self.num_buckets // 2
        sizes = np.maximum(np.abs(distances), middle)
        logs = np.log(np.append(sizes, self.max_distance - 1).astype(np.float32) / np.float32(middle))
        steps = np.ceil(logs[:-1] / logs[-1] * np.float32(middle - 1)).astype(np.int64)
        return np.where(sizes <= middle, distances, np.sign(distances) * (steps + middle))


class RelativeRows(NamedTuple):
    """The part of the table that rows of R tokens need, and which of its P rows belongs to each of 2R distances."""

    x: Float[Array, "P D"]
    c2p: Int[np.ndarray, " 2*R"]  # of distances R, R - 1 ... 1 - R
    p2c: Int[np.ndarray, " 2*R"]  # of distances -R, 1 - R ... R - 1


class RelativePositions(nnx.Module):
    """The table of relative positions [2 span, D], which all layers share."""

    def __init__(self, cfg: RelativeConfig, dim: int, *, norm_eps: float | None, dtype: DTypeLike, rngs: nnx.Rngs):
        self.cfg = cfg
        self.weight = nnx.Param(0.02 * jax.random.normal(rngs.params(), (2 * cfg.span, dim), dtype))
        self.norm = None if norm_eps is None else LayerNorm(dim, eps=norm_eps)

    def __call__(self, row_len: int) -> RelativeRows:
        """What rows of `row_len` tokens need."""
        rows = self.cfg.rows(np.arange(-row_len, row_len + 1))
        first, last = int(rows[0]), int(rows[-1])
        x = self.weight[...][first : last + 1].astype(jnp.float32)
        x = x if self.norm is None else self.norm(x)
        return RelativeRows(x, rows[:0:-1] - first, rows[:-1] - first)


class DisentangledAttention(nnx.Module):
    """Projections around an attention op, whose bias they make from words and relative positions."""

    def __init__(
        self,
        dim: int,
        *,
        num_heads: int,
        scale: float,
        kinds: tuple[RelativeKind, ...],
        own_projections: bool,
        key_bias: bool,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        """Positions are projected by pos_q and pos_k, or by q and k where `own_projections` is False."""
        self.num_heads, self.scale, self.kinds = num_heads, scale, kinds
        linear = partial(Linear, dim, dim, dtype=dtype, rngs=rngs)
        self.q, self.k, self.v, self.o = (linear(bias=bias) for bias in (True, key_bias, True, True))
        self.pos_k = linear(bias=key_bias) if own_projections and "c2p" in kinds else None
        self.pos_q = linear(bias=True) if own_projections and "p2c" in kinds else None

    def __call__(
        self,
        x: Float[Array, "T D"],
        attend: Attend,
        relative: RelativeRows | None,
        residual: Float[Array, "T D"] | None = None,
    ) -> Float[Array, "rows D"]:
        """Attends and adds `residual`; `relative` None: there are no relative positions."""
        q, k, v = (self._heads(layer, x, attend.num_tokens) for layer in (self.q, self.k, self.v))
        bias = None if relative is None else self._bias(attend.rows(q), attend.rows(k), relative)
        out = attend(attend.pick(q), k, v, window=None, bias=bias)
        residual = None if residual is None else attend.pick(residual)
        return self.o(out.reshape(len(out), -1), num_tokens=attend.num_picked, residual=residual)

    def _heads(
        self, layer: Linear, x: Float[Array, "some D"], num_tokens: Int[Array, ""] | None = None
    ) -> Float[Array, "some N H"]:
        return layer(x, num_tokens=num_tokens, out_dtype=self.o.dtype).reshape(len(x), self.num_heads, -1)

    def _bias(
        self, q: Float[Array, "rows R N H"], k: Float[Array, "rows R N H"], relative: RelativeRows
    ) -> Float[Array, "rows N R R"]:
        terms: list[Float[Array, "N rows R R"]] = []
        if "c2p" in self.kinds:
            positions = self._heads(self.k if self.pos_k is None else self.pos_k, relative.x)
            terms.append(by_distance(q, positions[relative.c2p]))
        if "p2c" in self.kinds:
            positions = self._heads(self.q if self.pos_q is None else self.pos_q, relative.x)
            terms.append(by_distance(k, positions[relative.p2c]).swapaxes(-1, -2))
        return (sum(terms[1:], terms[0]) * self.scale).swapaxes(0, 1)


def by_distance(x: Float[Array, "rows R N H"], positions: Float[Array, "2*R N H"]) -> Float[Array, "N rows R R"]:
    """Products of token a with position b - a + R, for all b of its row.

    All 2R products of a token are computed. In the flat array, row a's begin at 2R a; read in rows of 2R - 1 from
    element 1 on, each begins one product later than the one above: the diagonals have become columns.
    """
    rows, length, heads, _ = x.shape
    precision = jax.lax.Precision.HIGHEST if x.dtype == jnp.float32 else jax.lax.Precision.DEFAULT
    product = partial(jnp.einsum, precision=precision, preferred_element_type=jnp.float32)
    # Heads come first, as in the product: there is less to transpose once the diagonals are taken.
    flat = product("xrnh,dnh->nxrd", x, positions).reshape(heads, rows, -1)
    diagonals = flat[..., 1 : 1 + length * (2 * length - 1)].reshape(heads, rows, length, 2 * length - 1)
    return diagonals[..., length - 1 :]

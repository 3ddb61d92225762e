"""Mamba-1 mixers over packed tokens: a causal convolution and a selective scan that start afresh with each sequence."""

import dataclasses
import math

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from jaxcls.layers.activation import activation
from jaxcls.layers.linear import Linear
from jaxcls.layers.norm import RMSNorm


@dataclasses.dataclass(frozen=True)
class MambaConfig:
    """A mixer's sizes.

    Attributes:
        inner_dim: channels I, each with a state of its own.
        state_dim: values N of a channel's state.
        conv_width: tokens that the convolution sees.
        dt_rank: width of the bottleneck that step sizes come from.
        conv_bias: whether the convolution has a bias.
        proj_bias: whether the projections in and out have biases.
        norm_eps: of the RMSNorms on step sizes, B and C (Jamba).
    """

    inner_dim: int
    state_dim: int
    conv_width: int
    dt_rank: int
    conv_bias: bool
    proj_bias: bool
    norm_eps: float


class Mamba(nnx.Module):
    """out(scan(u) * silu(z)), u = act(conv(a)), [a, z] = in(x); step sizes, B and C of the scan are functions of u.

    Gu and Dao, arXiv:2312.00752, with Jamba's norms (arXiv:2403.19887).
    """

    def __init__(self, dim: int, cfg: MambaConfig, *, act: str, dtype: DTypeLike, rngs: nnx.Rngs):
        self.cfg, self.act = cfg, act
        inner, states = cfg.inner_dim, cfg.state_dim
        self.proj_in = Linear(dim, 2 * inner, bias=cfg.proj_bias, dtype=dtype, rngs=rngs)
        self.conv = CausalConv(inner, cfg.conv_width, bias=cfg.conv_bias, rngs=rngs)
        self.select = Linear(inner, cfg.dt_rank + 2 * states, bias=False, dtype=dtype, rngs=rngs)
        self.dt_norm = RMSNorm(cfg.dt_rank, eps=cfg.norm_eps)
        self.b_norm = RMSNorm(states, eps=cfg.norm_eps)
        self.c_norm = RMSNorm(states, eps=cfg.norm_eps)
        self.dt = Linear(cfg.dt_rank, inner, bias=True, dtype=dtype, rngs=rngs)
        decay = jnp.broadcast_to(jnp.log(jnp.arange(1.0, states + 1)), (inner, states))
        self.log_decay = nnx.Param(decay.astype(jnp.float32))
        self.skip = nnx.Param(jnp.ones((inner,), jnp.float32))
        self.proj_out = Linear(inner, dim, bias=cfg.proj_bias, dtype=dtype, rngs=rngs)

    def __call__(
        self, x: Float[Array, "T D"], positions: Int[Array, " T"], num_tokens: Int[Array, ""] | None = None
    ) -> Float[Array, "T D"]:
        """Mixes each sequence's tokens; positions count from its first token, rows from `num_tokens` on are padding."""
        u, gate = jnp.split(self.proj_in(x, num_tokens=num_tokens), 2, axis=-1)
        u = activation(self.act)(self.conv(u, positions))
        selected = self.select(u, num_tokens=num_tokens)
        rank, states = self.cfg.dt_rank, self.cfg.state_dim
        dt, b, c = selected[:, :rank], selected[:, rank : rank + states], selected[:, rank + states :]
        dt = jax.nn.softplus(self.dt(self.dt_norm(dt), num_tokens=num_tokens))
        y = selective_scan(u, dt, -jnp.exp(self.log_decay[...]), self.b_norm(b), self.c_norm(c), positions == 0)
        y = (y + u * self.skip[...]) * jax.nn.silu(gate)
        return self.proj_out(y, num_tokens=num_tokens)


class CausalConv(nnx.Module):
    """y[t] = sum over j of weight[:, W - 1 - j] * x[t - j] + bias, channel by channel, within each sequence."""

    def __init__(self, dim: int, width: int, *, bias: bool, rngs: nnx.Rngs):
        self.weight = nnx.Param(0.02 * jax.random.normal(rngs.params(), (dim, width), jnp.float32))
        self.bias = nnx.Param(jnp.zeros((dim,), jnp.float32)) if bias else None

    def __call__(self, x: Float[Array, "T I"], positions: Int[Array, " T"]) -> Float[Array, "T I"]:
        """Convolves; a token at position p sees the p before it at most."""
        taps = self.weight[...].T
        y = x * taps[-1]
        for back in range(1, min(len(taps), len(x))):
            earlier = jnp.pad(x[:-back], ((back, 0), (0, 0)))
            y = y + jnp.where((positions >= back)[:, None], earlier, 0.0) * taps[-1 - back]
        return y if self.bias is None else y + self.bias[...]


def selective_scan(
    u: Float[Array, "T I"],
    dt: Float[Array, "T I"],
    a: Float[Array, "I N"],
    b: Float[Array, "T N"],
    c: Float[Array, "T N"],
    first: Bool[Array, " T"],
) -> Float[Array, "T I"]:
    """y[t] = sum over N of c[t] h[t], where h[t] = exp(dt[t] a) h[t-1] + dt[t] b[t] u[t], in float32.

    Tokens are cut into chunks that are scanned side by side, token after token: what is held is a state [N, I] for
    each chunk, never one for each token. A chunk that begins within a sequence needs the state that the chunks before
    it leave; those are found by scanning once without outputs, which only happens where there is such a chunk.

    Args:
        u: inputs.
        dt: step sizes.
        a: rates of decay, negative.
        b: what inputs are written to the states with.
        c: what states are read with.
        first: tokens that begin a sequence, or are padding: their h[t-1] is 0.
    """
    length = _chunk(len(u))

    def by_step(x: Array) -> Array:
        return jnp.swapaxes(x.reshape(-1, length, *x.shape[1:]), 0, 1)

    rates = a.T[:, None, :]
    steps = _Steps(by_step(u), by_step(dt), by_step(b), by_step(c), by_step(first))
    state = jnp.zeros((a.shape[1], len(u) // length, u.shape[1]), jnp.float32)
    if len(u) > length:
        inside = ~first.reshape(-1, length)[:, 0]
        state = jax.lax.cond(inside.any(), lambda: _incoming(steps, rates, state), lambda: state)
    _, y = jax.lax.scan(lambda h, step: _advance(h, step, rates), state, steps)
    return jnp.swapaxes(y, 0, 1).reshape(u.shape)


def _chunk(num_tokens: int) -> int:
    """Tokens of a chunk: about sqrt(8 T), a power of two that divides T.

    A step costs tens of microseconds whatever it computes, so there must be few of them, each of many chunks. One chunk
    of 512 tokens takes three times as long as eight of 64, which are scanned twice.
    """
    return math.gcd(num_tokens, 1 << (8 * num_tokens).bit_length() // 2)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Steps:
    """What one step reads, of G chunks; all of a scan's steps have an axis in front."""

    u: Float[Array, "*steps G I"]
    dt: Float[Array, "*steps G I"]
    b: Float[Array, "*steps G N"]
    c: Float[Array, "*steps G N"]
    first: Bool[Array, "*steps G"]


def _advance(
    h: Float[Array, "N G I"], step: _Steps, rates: Float[Array, "N 1 I"]
) -> tuple[Float[Array, "N G I"], Float[Array, "G I"]]:
    """One token of each chunk: the new states, and what is read from them. N lies first: vectors run over channels."""
    kept = jnp.where(step.first[:, None], 0.0, jnp.exp(step.dt * rates) * h)
    h = kept + step.b.T[:, :, None] * (step.dt * step.u)
    return h, (h * step.c.T[:, :, None]).sum(axis=0)


def _incoming(steps: _Steps, rates: Float[Array, "N 1 I"], zeros: Float[Array, "N G I"]) -> Float[Array, "N G I"]:
    """The state that each chunk starts from."""
    left, _ = jax.lax.scan(lambda h, step: (_advance(h, step, rates)[0], None), zeros, steps)
    # What is left of a state that comes in: nothing where a sequence begins in the chunk.
    decay = jnp.where(steps.first.any(axis=0)[:, None], 0.0, jnp.exp(steps.dt.sum(axis=0) * rates))

    def combine(
        early: tuple[Float[Array, "N g I"], Float[Array, "N g I"]],
        late: tuple[Float[Array, "N g I"], Float[Array, "N g I"]],
    ) -> tuple[Float[Array, "N g I"], Float[Array, "N g I"]]:
        return early[0] * late[0], early[1] * late[0] + late[1]

    _, states = jax.lax.associative_scan(combine, (decay, left), axis=1)
    return jnp.pad(states[:, :-1], ((0, 0), (1, 0), (0, 0)))

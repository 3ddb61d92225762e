"""The hybrid family: pre-norm blocks whose mixer is Mamba or attention without positions (Jamba)."""

import dataclasses

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jaxcls.layers.attention import Attend, Attention
from jaxcls.layers.head import LINEAR, HeadConfig, ProjectionConfig
from jaxcls.layers.linear import Embedding
from jaxcls.layers.mamba import Mamba, MambaConfig
from jaxcls.layers.mlp import MLP
from jaxcls.layers.moe import Mixture, MixtureConfig
from jaxcls.layers.norm import RMSNorm
from jaxcls.layers.packed import PackedBatch
from jaxcls.layers.stack import build_mixed_layers, run_layers


@dataclasses.dataclass(frozen=True)
class HybridConfig:
    """The model; `attends` and `sparse` say of each layer whether it is attention and whether it has experts."""

    vocab_size: int
    embed_dim: int
    mlp_dim: int
    num_heads: int
    num_kv_heads: int
    max_len: int
    num_labels: int
    pad_token_id: int | None
    activation: str
    norm_eps: float
    mamba: MambaConfig
    mixture: MixtureConfig
    attends: tuple[bool, ...]
    sparse: tuple[bool, ...]
    head: HeadConfig | ProjectionConfig = LINEAR
    type_vocab_size: int = 0
    absolute_positions: bool = False
    plain_attention: bool = True
    kv_heads_per_layer: None = None  # a state goes from token to token

    @property
    def num_layers(self) -> int:
        """Number of layers."""
        return len(self.attends)

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.embed_dim // self.num_heads


class HybridLayer(nnx.Module):
    """x + mixer(norm x), then x + mlp(norm x)."""

    def __init__(self, cfg: HybridConfig, *, attends: bool, sparse: bool, dtype: DTypeLike, rngs: nnx.Rngs):
        dim, act = cfg.embed_dim, cfg.activation
        self.attn_norm = RMSNorm(dim, eps=cfg.norm_eps)
        if attends:
            sizes = {"num_heads": cfg.num_heads, "num_kv_heads": cfg.num_kv_heads, "head_dim": cfg.head_dim}
            self.attn = Attention(dim, **sizes, qkv_bias=False, out_bias=False, dtype=dtype, rngs=rngs)
            self.mamba = None
        else:
            self.attn = None
            self.mamba = Mamba(dim, cfg.mamba, act=act, dtype=dtype, rngs=rngs)
        self.mlp_norm = RMSNorm(dim, eps=cfg.norm_eps)
        if sparse:
            self.mlp = Mixture(dim, cfg.mixture, act=act, dtype=dtype, rngs=rngs)
        else:
            self.mlp = MLP(dim, cfg.mlp_dim, act=act, gated=True, bias=False, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "T D"], attend: Attend, positions: Int[Array, " T"]) -> Float[Array, "rows D"]:
        """One block."""
        y = self.attn_norm(x)
        if self.attn is not None:
            x = self.attn(y, attend, residual=x)
        elif self.mamba is not None:
            x = attend.pick(x + self.mamba(y, positions, attend.num_tokens))
        return self.mlp(self.mlp_norm(x), attend.num_picked, residual=x)


class HybridClassifier(nnx.Module):
    """Embedding, blocks, final norm; `head` scores what the pooler picks."""

    def __init__(self, cfg: HybridConfig, rngs: nnx.Rngs, dtype: DTypeLike = jnp.float32, stacked: bool = False):
        self.cfg = cfg
        self.embed = nnx.Dict(tokens=Embedding(cfg.vocab_size, cfg.embed_dim, dtype=dtype, rngs=rngs))
        self.layers = build_mixed_layers(
            lambda kind, layer_rngs: HybridLayer(cfg, attends=kind[0], sparse=kind[1], dtype=dtype, rngs=layer_rngs),
            list(zip(cfg.attends, cfg.sparse, strict=True)),
            stacked=stacked,
            rngs=rngs,
        )
        self.final_norm = RMSNorm(cfg.embed_dim, eps=cfg.norm_eps)
        self.head = cfg.head.build(cfg.embed_dim, cfg.num_labels, rngs=rngs)

    def __call__(self, batch: PackedBatch) -> Float[Array, "rows D"]:
        """Final hidden states of every packed token, or of those that the batch names."""
        positions = jnp.asarray(batch.positions)
        attend = batch.attend(scale=self.cfg.head_dim**-0.5, causal=True)
        x = self.embed.tokens(batch.input_ids)
        per_layer = (None,) * self.cfg.num_layers
        x = run_layers(self.layers, x, attend, lambda layer, y, own, _: layer(y, own, positions), per_layer)
        return self.final_norm(x)

"""GPT-2's network: pre-norm blocks with LayerNorm and absolute positions."""

import dataclasses

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jaxcls.layers.attention import Attend, Attention
from jaxcls.layers.head import LINEAR, HeadConfig, ProjectionConfig
from jaxcls.layers.linear import Embedding
from jaxcls.layers.mlp import MLP
from jaxcls.layers.norm import LayerNorm
from jaxcls.layers.packed import PackedBatch
from jaxcls.layers.stack import build_layers, run_layers


@dataclasses.dataclass(frozen=True)
class GPT2Config:
    """What config.json says; `scale_by_layer`: scores of layer i, from 0, are divided by i + 1 (Mistral's GPT-2)."""

    vocab_size: int
    embed_dim: int
    mlp_dim: int
    num_layers: int
    num_heads: int
    max_len: int
    num_labels: int
    pad_token_id: int | None
    activation: str
    norm_eps: float
    scale: float
    scale_by_layer: bool
    head: HeadConfig | ProjectionConfig = LINEAR
    type_vocab_size: int = 0
    absolute_positions: bool = True
    plain_attention: bool = True

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.embed_dim // self.num_heads

    @property
    def kv_heads_per_layer(self) -> int:
        """See `ModelConfig`."""
        return self.num_heads


class GPT2Layer(nnx.Module):
    """x + attn(norm x), then x + mlp(norm x)."""

    def __init__(self, cfg: GPT2Config, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.attn_norm = LayerNorm(cfg.embed_dim, eps=cfg.norm_eps)
        self.attn = Attention(
            cfg.embed_dim,
            num_heads=cfg.num_heads,
            num_kv_heads=cfg.num_heads,
            head_dim=cfg.head_dim,
            qkv_bias=True,
            out_bias=True,
            dtype=dtype,
            rngs=rngs,
        )
        self.mlp_norm = LayerNorm(cfg.embed_dim, eps=cfg.norm_eps)
        self.mlp = MLP(cfg.embed_dim, cfg.mlp_dim, act=cfg.activation, gated=False, bias=True, dtype=dtype, rngs=rngs)

    def __call__(
        self, x: Float[Array, "T D"], attend: Attend, divisor: int | Int[Array, ""] | None
    ) -> Float[Array, "rows D"]:
        """One block; `divisor` is of its scores."""
        x = self.attn(self.attn_norm(x), attend, residual=x, divisor=divisor)
        return self.mlp(self.mlp_norm(x), attend.num_picked, residual=x)


class GPT2Classifier(nnx.Module):
    """Embeddings, blocks, final norm; `head` scores what the pooler picks."""

    def __init__(self, cfg: GPT2Config, rngs: nnx.Rngs, dtype: DTypeLike = jnp.float32, stacked: bool = False):
        self.cfg = cfg
        self.embed = nnx.Dict(
            tokens=Embedding(cfg.vocab_size, cfg.embed_dim, dtype=dtype, rngs=rngs),
            positions=Embedding(cfg.max_len, cfg.embed_dim, dtype=dtype, rngs=rngs),
        )
        self.layers = build_layers(
            lambda layer_rngs: GPT2Layer(cfg, dtype=dtype, rngs=layer_rngs),
            cfg.num_layers,
            stacked=stacked,
            rngs=rngs,
        )
        self.final_norm = LayerNorm(cfg.embed_dim, eps=cfg.norm_eps)
        self.head = cfg.head.build(cfg.embed_dim, cfg.num_labels, rngs=rngs)

    def __call__(self, batch: PackedBatch) -> Float[Array, "rows D"]:
        """Final hidden states of every packed token, or of those that the batch names."""
        x = self.embed.tokens(batch.input_ids) + self.embed.positions(batch.positions)
        attend = batch.attend(scale=self.cfg.scale, causal=True)
        numbers = range(1, self.cfg.num_layers + 1)
        divisors = tuple(number if self.cfg.scale_by_layer else None for number in numbers)
        x = run_layers(self.layers, x, attend, lambda layer, y, own, divisor: layer(y, own, divisor), divisors)
        return self.final_norm(x)

"""The DeBERTa family: post-norm blocks of disentangled attention."""

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jaxcls.layers.attention import Attend
from jaxcls.layers.convolution import TokenConvolution
from jaxcls.layers.disentangled import DisentangledAttention, RelativePositions, RelativeRows
from jaxcls.layers.linear import Embedding, Linear
from jaxcls.layers.mlp import MLP
from jaxcls.layers.norm import LayerNorm
from jaxcls.layers.packed import PackedBatch
from jaxcls.layers.stack import build_layers, run_layers
from jaxcls.models.deberta_config import DebertaConfig


class DebertaEmbedding(nnx.Module):
    """Word, position and token type embeddings, those that there are; a projection to the width of the layers; norm."""

    def __init__(self, cfg: DebertaConfig, *, dtype: DTypeLike, rngs: nnx.Rngs):
        table = partial(Embedding, dim=cfg.table_dim, dtype=dtype, rngs=rngs)
        self.tokens = table(cfg.vocab_size)
        self.positions = table(cfg.num_positions) if cfg.num_positions else None
        self.token_types = table(cfg.type_vocab_size) if cfg.type_vocab_size else None
        projected = cfg.table_dim != cfg.embed_dim
        self.projection = (
            Linear(cfg.table_dim, cfg.embed_dim, bias=False, dtype=dtype, rngs=rngs) if projected else None
        )
        self.norm = LayerNorm(cfg.embed_dim, eps=cfg.norm_eps)

    def __call__(self, batch: PackedBatch) -> Float[Array, "T D"]:
        """Embeds every packed token."""
        x = self.tokens(batch.input_ids)
        x = x if self.positions is None else x + self.positions(batch.positions)
        x = x if self.token_types is None else x + self.token_types(batch.token_type_ids)
        return self.norm(x if self.projection is None else self.projection(x, num_tokens=batch.num_tokens()))


class DebertaLayer(nnx.Module):
    """norm(x + attn x), then norm(x + mlp x)."""

    def __init__(self, cfg: DebertaConfig, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.attn = DisentangledAttention(
            cfg.embed_dim,
            num_heads=cfg.num_heads,
            scale=cfg.scale,
            kinds=cfg.relative.kinds if cfg.relative else (),
            own_projections=cfg.own_projections,
            key_bias=cfg.key_bias,
            dtype=dtype,
            rngs=rngs,
        )
        self.attn_norm = LayerNorm(cfg.embed_dim, eps=cfg.norm_eps)
        self.mlp = MLP(cfg.embed_dim, cfg.mlp_dim, act=cfg.activation, gated=False, bias=True, dtype=dtype, rngs=rngs)
        self.mlp_norm = LayerNorm(cfg.embed_dim, eps=cfg.norm_eps)

    def __call__(self, x: Float[Array, "T D"], attend: Attend, relative: RelativeRows | None) -> Float[Array, "rows D"]:
        """One block."""
        x = self.attn_norm(self.attn(x, attend, relative, residual=x))
        return self.mlp_norm(self.mlp(x, attend.num_picked, residual=x))


class DebertaConvolution(nnx.Module):
    """norm(x + conv(embeddings)), with x what the first layer made of the embeddings (v2-xlarge and v2-xxlarge)."""

    def __init__(self, cfg: DebertaConfig, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.conv = TokenConvolution(
            cfg.embed_dim, width=cfg.conv_width, act=cfg.conv_activation, dtype=dtype, rngs=rngs
        )
        self.norm = LayerNorm(cfg.embed_dim, eps=cfg.norm_eps)

    def __call__(
        self, x: Float[Array, "rows D"], embeddings: Float[Array, "T D"], batch: PackedBatch, attend: Attend
    ) -> Float[Array, "rows D"]:
        """Adds what the neighbours of each token say."""
        around = self.conv(embeddings, jnp.asarray(batch.segment_ids), attend.num_tokens)
        return self.norm(x + attend.pick(around))


class DebertaClassifier(nnx.Module):
    """Embeddings and blocks; `head` scores what the pooler picks."""

    def __init__(self, cfg: DebertaConfig, rngs: nnx.Rngs, dtype: DTypeLike = jnp.float32, stacked: bool = False):
        self.cfg = cfg
        self.embed = DebertaEmbedding(cfg, dtype=dtype, rngs=rngs)
        norm_eps = cfg.norm_eps if cfg.relative_norm else None
        table = partial(RelativePositions, dim=cfg.embed_dim, norm_eps=norm_eps, dtype=dtype, rngs=rngs)
        self.relative = None if cfg.relative is None else table(cfg.relative)
        self.layers = build_layers(
            lambda layer_rngs: DebertaLayer(cfg, dtype=dtype, rngs=layer_rngs),
            cfg.num_layers,
            stacked=stacked,
            rngs=rngs,
        )
        self.conv = DebertaConvolution(cfg, dtype=dtype, rngs=rngs) if cfg.conv_width else None
        self.head = cfg.head.build(cfg.embed_dim, cfg.num_labels, rngs=rngs)

    def __call__(self, batch: PackedBatch) -> Float[Array, "rows D"]:
        """Final hidden states of every packed token, or of those that the batch names."""
        attend = batch.attend(scale=self.cfg.scale, causal=False)
        embeddings = self.embed(batch)
        row_len = attend.rows(embeddings).shape[1]
        relative = None if self.relative is None else self.relative(row_len)

        def block(
            layer: DebertaLayer, x: Float[Array, "T D"], own: Attend, number: int | Int[Array, ""] | None
        ) -> Float[Array, "rows D"]:
            x, conv = layer(x, own, relative), self.conv
            if conv is None or number is None:
                return x
            return jax.lax.cond(number == 1, lambda: conv(x, embeddings, batch, own), lambda: x)

        first = None if self.conv is None else 1
        return run_layers(self.layers, embeddings, attend, block, (first, *(None,) * (self.cfg.num_layers - 1)))

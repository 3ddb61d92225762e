"""The encoder family: post-norm transformer blocks with absolute positions (BERT and its descendants)."""

from functools import partial

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jaxcls.layers.attention import Attend, Attention
from jaxcls.layers.distance import DistanceBias
from jaxcls.layers.linear import Embedding, Linear
from jaxcls.layers.mlp import MLP
from jaxcls.layers.norm import LayerNorm
from jaxcls.layers.packed import PackedBatch
from jaxcls.layers.stack import build_layers, run_layers
from jaxcls.models.encoder_config import EncoderConfig


class EncoderEmbedding(nnx.Module):
    """Word + position + token type (+ task type) embeddings, LayerNorm, and where tables are narrow a projection."""

    def __init__(self, cfg: EncoderConfig, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.position_padding_id = cfg.position_padding_id
        width = cfg.table_dim or cfg.embed_dim
        table = partial(Embedding, dim=width, dtype=dtype, rngs=rngs)
        self.tokens = table(cfg.vocab_size)
        self.positions = table(cfg.num_positions)
        self.token_types = table(cfg.type_vocab_size) if cfg.type_vocab_size else None
        self.task_types = table(cfg.num_task_types) if cfg.num_task_types else None
        self.norm = LayerNorm(width, eps=cfg.norm_eps)
        projected = cfg.table_dim is not None
        self.project = Linear(width, cfg.embed_dim, bias=True, dtype=dtype, rngs=rngs) if projected else None

    def __call__(self, batch: PackedBatch) -> Float[Array, "T D"]:
        """Embeds every packed token."""
        x = self.tokens(batch.input_ids)
        if self.token_types is not None:
            x = x + self.token_types(batch.token_type_ids)
        x = x + self.positions(self._position_ids(batch))
        if self.task_types is not None:
            x = x + self.task_types(jnp.zeros_like(batch.input_ids))
        x = self.norm(x)
        return x if self.project is None else self.project(x, num_tokens=batch.num_tokens())

    def _position_ids(self, batch: PackedBatch) -> Int[Array, " T"]:
        """Transformers' create_position_ids_from_input_ids: a running count of tokens that are not padding."""
        if self.position_padding_id is None:
            return batch.positions
        real = (batch.input_ids != self.position_padding_id).astype(jnp.int32)
        before = jnp.cumsum(real) - real
        count = before - before[batch.starts[batch.segment_ids]] + 1
        # Padding of the batch has no segment; its position is any valid one.
        return self.position_padding_id + jnp.where(batch.segment_ids >= 0, count * real, 0)


class EncoderLayer(nnx.Module):
    """norm(x + attn x), then norm(x + mlp x)."""

    def __init__(self, cfg: EncoderConfig, *, dtype: DTypeLike, rngs: nnx.Rngs):
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
        self.attn_norm = LayerNorm(cfg.embed_dim, eps=cfg.norm_eps)
        self.mlp = MLP(cfg.embed_dim, cfg.mlp_dim, act=cfg.activation, gated=False, bias=True, dtype=dtype, rngs=rngs)
        self.mlp_norm = LayerNorm(cfg.embed_dim, eps=cfg.norm_eps)

    def __call__(
        self, x: Float[Array, "T D"], attend: Attend, bias: Float[Array, "1 N R R"] | None
    ) -> Float[Array, "rows D"]:
        """One block; `bias` is added to the scores of its attention."""
        x = self.attn_norm(self.attn(x, attend, residual=x, bias=bias))
        return self.mlp_norm(self.mlp(x, attend.num_picked, residual=x))


class EncoderClassifier(nnx.Module):
    """Embeddings and blocks; `head` scores what the pooler picks."""

    def __init__(self, cfg: EncoderConfig, rngs: nnx.Rngs, dtype: DTypeLike = jnp.float32, stacked: bool = False):
        self.cfg = cfg
        self.embed = EncoderEmbedding(cfg, dtype=dtype, rngs=rngs)
        buckets, order = cfg.num_distance_buckets, cfg.layer_order
        self.distance_bias = None if buckets is None else DistanceBias(buckets, cfg.num_heads, rngs=rngs)
        self.layers = build_layers(
            lambda layer_rngs: EncoderLayer(cfg, dtype=dtype, rngs=layer_rngs),
            cfg.num_layers if order is None else max(order) + 1,
            stacked=stacked,
            rngs=rngs,
        )
        self.head = cfg.head.build(cfg.embed_dim, cfg.num_labels, rngs=rngs)

    def __call__(self, batch: PackedBatch) -> Float[Array, "rows D"]:
        """Final hidden states of every packed token, or of those that the batch names."""
        attend = batch.attend(scale=self.cfg.head_dim**-0.5, causal=False)
        x = self.embed(batch)
        bias = None if self.distance_bias is None else self.distance_bias(attend.rows(x).shape[1])
        order = self.cfg.layer_order
        same = (None,) * (self.cfg.num_layers if order is None else len(order))
        return run_layers(self.layers, x, attend, lambda layer, y, own, _: layer(y, own, bias), same, order)

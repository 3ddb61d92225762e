"""The rotary encoder family: bidirectional transformer blocks with rope (ModernBERT, GTE, NomicBERT, Jina)."""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from jaxcls.layers.attention import Attend, Attention, Rotation
from jaxcls.layers.linear import Embedding
from jaxcls.layers.mlp import MLP
from jaxcls.layers.norm import LayerNorm
from jaxcls.layers.packed import PackedBatch
from jaxcls.layers.rope import cos_sin
from jaxcls.layers.stack import build_layers, run_layers
from jaxcls.models.rotary_encoder_config import LayerKind, RotaryEncoderConfig


class RotaryEmbedding(nnx.Module):
    """Word (+ token type) embeddings, then LayerNorm."""

    def __init__(self, cfg: RotaryEncoderConfig, *, dtype: DTypeLike, rngs: nnx.Rngs):
        types = cfg.type_vocab_size
        self.tokens = Embedding(cfg.vocab_size, cfg.embed_dim, dtype=dtype, rngs=rngs)
        self.token_types = Embedding(types, cfg.embed_dim, dtype=dtype, rngs=rngs) if types else None
        self.norm = LayerNorm(cfg.embed_dim, eps=cfg.norm_eps, bias=cfg.norm_bias)

    def __call__(self, batch: PackedBatch) -> Float[Array, "T D"]:
        """Embeds every packed token."""
        x = self.tokens(batch.input_ids)
        return self.norm(x if self.token_types is None else x + self.token_types(batch.token_type_ids))


class RotaryLayer(nnx.Module):
    """norm(x + attn x), then norm(x + mlp x); pre-norm: x + attn(norm x), then x + mlp(norm x)."""

    def __init__(self, cfg: RotaryEncoderConfig, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.pre_norm = cfg.pre_norm
        self.attn = Attention(
            cfg.embed_dim,
            num_heads=cfg.num_heads,
            num_kv_heads=cfg.num_heads,
            head_dim=cfg.head_dim,
            qkv_bias=cfg.qkv_bias,
            out_bias=cfg.out_bias,
            dtype=dtype,
            rngs=rngs,
        )
        self.attn_norm = LayerNorm(cfg.embed_dim, eps=cfg.norm_eps, bias=cfg.norm_bias)
        self.mlp = MLP(
            cfg.embed_dim,
            cfg.mlp_dim,
            act=cfg.activation,
            gated=cfg.gated,
            bias=cfg.up_bias,
            down_bias=cfg.down_bias,
            dtype=dtype,
            rngs=rngs,
        )
        self.mlp_norm = LayerNorm(cfg.embed_dim, eps=cfg.norm_eps, bias=cfg.norm_bias)

    def __call__(
        self,
        x: Float[Array, "T D"],
        attend: Attend,
        rotation: Rotation,
        window: int | Int[Array, ""] | None,
        normed: bool | Bool[Array, ""],
    ) -> Float[Array, "rows D"]:
        """One block; `normed` of LayerKind."""
        if not self.pre_norm:
            x = self.attn_norm(self.attn(x, attend, residual=x, rotation=rotation, window=window))
            return self.mlp_norm(self.mlp(x, attend.num_picked, residual=x))
        y = x if normed is False else self.attn_norm(x)
        y = y if isinstance(normed, bool) else jnp.where(normed, y, x)
        x = self.attn(y, attend, residual=x, rotation=rotation, window=window)
        return self.mlp(self.mlp_norm(x), attend.num_picked, residual=x)


class RotaryEncoderClassifier(nnx.Module):
    """Embeddings and blocks; `head` scores what the pooler picks."""

    def __init__(self, cfg: RotaryEncoderConfig, rngs: nnx.Rngs, dtype: DTypeLike = jnp.float32, stacked: bool = False):
        self.cfg = cfg
        self.embed = RotaryEmbedding(cfg, dtype=dtype, rngs=rngs)
        self.layers = build_layers(
            lambda layer_rngs: RotaryLayer(cfg, dtype=dtype, rngs=layer_rngs),
            cfg.num_layers,
            stacked=stacked,
            rngs=rngs,
        )
        self.final_norm = LayerNorm(cfg.embed_dim, eps=cfg.norm_eps, bias=cfg.norm_bias) if cfg.pre_norm else None
        self.head = cfg.head.build(cfg.embed_dim, cfg.num_labels, rngs=rngs)

    def __call__(self, batch: PackedBatch) -> Float[Array, "rows D"]:
        """Final hidden states of every packed token, or of those that the batch names."""
        kinds = list(dict.fromkeys(self.cfg.kinds))
        given = _Given(kinds, batch)
        attend = batch.attend(scale=self.cfg.head_dim**-0.5, causal=False)
        x = run_layers(
            self.layers,
            self.embed(batch),
            attend,
            lambda layer, y, own, kind: layer(y, own, *given.to(kind)),
            [kinds.index(kind) for kind in self.cfg.kinds],
        )
        return x if self.final_norm is None else self.final_norm(x)


class _Given:
    """What the layers of each kind are given, by the kind's index, which in a scan over layers is traced."""

    def __init__(self, kinds: Sequence[LayerKind], batch: PackedBatch):
        self.kinds = kinds
        lengths = batch.token_lengths()
        ropes = {kind.rope: cos_sin(kind.rope, batch.positions, lengths) for kind in kinds}
        self.rotations = [ropes[kind.rope] for kind in kinds]
        self.cos = jnp.stack([cos for cos, _ in self.rotations])
        self.sin = jnp.stack([sin for _, sin in self.rotations])

    def to(self, kind: int | Int[Array, ""]) -> tuple[Rotation, int | Int[Array, ""] | None, bool | Bool[Array, ""]]:
        """Rotation, window and whether the input is normalised."""
        if isinstance(kind, int):
            return self.rotations[kind], self.kinds[kind].window, self.kinds[kind].normed
        unlimited = jnp.iinfo(jnp.int32).max
        windows = jnp.array([unlimited if k.window is None else k.window for k in self.kinds], jnp.int32)
        return (self.cos[kind], self.sin[kind]), windows[kind], jnp.array([k.normed for k in self.kinds])[kind]

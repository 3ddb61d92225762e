"""The decoder family: pre-norm transformer blocks with rope (Llama, Mistral, Qwen2, Qwen3, Phi-3, Gemma 1 to 3)."""

from functools import partial

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jaxcls.layers.attention import Attend, Attention, Rotation
from jaxcls.layers.linear import Embedding
from jaxcls.layers.mlp import MLP
from jaxcls.layers.moe import Mixture
from jaxcls.layers.norm import RMSNorm
from jaxcls.layers.packed import PackedBatch
from jaxcls.layers.rope import cos_sin
from jaxcls.layers.stack import build_mixed_layers, by_window, run_layers
from jaxcls.models.decoder_config import DecoderConfig


class DecoderLayer(nnx.Module):
    """x + attn(norm x), then x + mlp(norm x); with post norms, x + norm(attn(norm x)) and so on."""

    def __init__(self, cfg: DecoderConfig, *, sparse: bool = False, dtype: DTypeLike, rngs: nnx.Rngs):
        norm = partial(RMSNorm, cfg.embed_dim, eps=cfg.norm_eps, offset=cfg.norm_offset)
        self.attn_norm = norm()
        self.attn = Attention(
            cfg.embed_dim,
            num_heads=cfg.num_heads,
            num_kv_heads=cfg.num_kv_heads,
            head_dim=cfg.head_dim,
            qkv_bias=cfg.qkv_bias,
            out_bias=cfg.out_bias,
            qk_norm_eps=cfg.norm_eps if cfg.qk_norm else None,
            norm_offset=cfg.norm_offset,
            dtype=dtype,
            rngs=rngs,
        )
        self.attn_post_norm = norm() if cfg.post_norms else None
        self.mlp_norm = norm()
        if sparse and cfg.mixture is not None:
            self.mlp = Mixture(cfg.embed_dim, cfg.mixture, act=cfg.activation, dtype=dtype, rngs=rngs)
        else:
            self.mlp = MLP(
                cfg.embed_dim, cfg.mlp_dim, act=cfg.activation, gated=True, bias=cfg.mlp_bias, dtype=dtype, rngs=rngs
            )
        self.mlp_post_norm = norm() if cfg.post_norms else None

    def __call__(
        self, x: Float[Array, "T D"], attend: Attend, rotation: Rotation, window: int | Int[Array, ""] | None
    ) -> Float[Array, "rows D"]:
        """One block."""
        attn = partial(self.attn, self.attn_norm(x), attend, rotation=rotation, window=window)
        x = attn(residual=x) if self.attn_post_norm is None else attend.pick(x) + self.attn_post_norm(attn())
        mlp = partial(self.mlp, self.mlp_norm(x), attend.num_picked)
        return mlp(residual=x) if self.mlp_post_norm is None else x + self.mlp_post_norm(mlp())


class DecoderClassifier(nnx.Module):
    """Embedding, blocks, final norm; `head` scores what the pooler picks."""

    def __init__(self, cfg: DecoderConfig, rngs: nnx.Rngs, dtype: DTypeLike = jnp.float32, stacked: bool = False):
        self.cfg = cfg
        self.embed = nnx.Dict(tokens=Embedding(cfg.vocab_size, cfg.embed_dim, dtype=dtype, rngs=rngs))
        self.layers = build_mixed_layers(
            lambda sparse, layer_rngs: DecoderLayer(cfg, sparse=sparse, dtype=dtype, rngs=layer_rngs),
            cfg.sparse or (False,) * cfg.num_layers,
            stacked=stacked,
            rngs=rngs,
        )
        self.final_norm = RMSNorm(cfg.embed_dim, eps=cfg.norm_eps, offset=cfg.norm_offset)
        self.head = cfg.head.build(cfg.embed_dim, cfg.num_labels, rngs=rngs)

    def __call__(self, batch: PackedBatch) -> Float[Array, "rows D"]:
        """Final hidden states of every packed token, or of those that the batch names."""
        x = self.embed.tokens(batch.input_ids)
        if self.cfg.embed_scale != 1.0:
            # Rounded to the weights' dtype, as Gemma was trained.
            x = x * jnp.asarray(self.cfg.embed_scale, self.embed.tokens.weight.dtype).astype(jnp.float32)
        rotations = [
            None if rope is None else cos_sin(rope, batch.positions, batch.token_lengths())
            for rope in (self.cfg.rope, self.cfg.local_rope)
        ]
        attend = batch.attend(
            scale=self.cfg.attn_scale or self.cfg.head_dim**-0.5,
            causal=not self.cfg.bidirectional,
            soft_cap=self.cfg.soft_cap,
        )
        x = run_layers(
            self.layers,
            x,
            attend,
            lambda layer, y, own, window: layer(y, own, by_window(window, *rotations), window),
            self.cfg.windows,
        )
        return self.final_norm(x)

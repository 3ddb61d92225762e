"""The decoder family: pre-norm transformer blocks with rope (Llama, Qwen2, Qwen3, Gemma)."""

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jaxcls.layers.attention import Attend, Attention, Rotation
from jaxcls.layers.head import ClassificationHead
from jaxcls.layers.linear import Embedding
from jaxcls.layers.mlp import MLP
from jaxcls.layers.norm import RMSNorm
from jaxcls.layers.packed import PackedBatch
from jaxcls.layers.rope import cos_sin
from jaxcls.layers.stack import build_layers, run_layers
from jaxcls.models.decoder_config import DecoderConfig
from weights.rules import Rule, RuleTable


class DecoderLayer(nnx.Module):
    """x + attn(norm x), then x + mlp(norm x)."""

    def __init__(self, cfg: DecoderConfig, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.attn_norm = RMSNorm(cfg.embed_dim, eps=cfg.norm_eps, offset=cfg.norm_offset)
        self.attn = Attention(
            cfg.embed_dim,
            num_heads=cfg.num_heads,
            num_kv_heads=cfg.num_kv_heads,
            head_dim=cfg.head_dim,
            qkv_bias=cfg.qkv_bias,
            out_bias=cfg.out_bias,
            qk_norm_eps=cfg.norm_eps if cfg.qk_norm else None,
            dtype=dtype,
            rngs=rngs,
        )
        self.mlp_norm = RMSNorm(cfg.embed_dim, eps=cfg.norm_eps, offset=cfg.norm_offset)
        self.mlp = MLP(
            cfg.embed_dim, cfg.mlp_dim, act=cfg.activation, gated=True, bias=cfg.mlp_bias, dtype=dtype, rngs=rngs
        )

    def __call__(
        self, x: Float[Array, "T D"], attend: Attend, rotation: Rotation, window: int | Int[Array, ""] | None
    ) -> Float[Array, "T D"]:
        """One block."""
        x = x + self.attn(self.attn_norm(x), attend, rotation=rotation, window=window)
        return x + self.mlp(self.mlp_norm(x), attend.num_tokens)


class DecoderClassifier(nnx.Module):
    """Embedding, blocks, final norm; `head` scores what the pooler picks."""

    def __init__(self, cfg: DecoderConfig, rngs: nnx.Rngs, dtype: DTypeLike = jnp.float32, stacked: bool = False):
        self.cfg = cfg
        self.embed = nnx.Dict(tokens=Embedding(cfg.vocab_size, cfg.embed_dim, dtype=dtype, rngs=rngs))
        self.layers = build_layers(
            lambda layer_rngs: DecoderLayer(cfg, dtype=dtype, rngs=layer_rngs),
            cfg.num_layers,
            stacked=stacked,
            rngs=rngs,
        )
        self.final_norm = RMSNorm(cfg.embed_dim, eps=cfg.norm_eps, offset=cfg.norm_offset)
        self.head = ClassificationHead(cfg.embed_dim, cfg.num_labels, cfg.head, rngs=rngs)

    def __call__(self, batch: PackedBatch) -> Float[Array, "T D"]:
        """Final hidden states of every packed token."""
        x = self.embed.tokens(batch.input_ids)
        if self.cfg.embed_scale != 1.0:
            # Rounded to the weights' dtype, as Gemma was trained.
            x = x * jnp.asarray(self.cfg.embed_scale, self.embed.tokens.weight.dtype).astype(jnp.float32)
        rotation = cos_sin(self.cfg.rope, batch.positions, batch.token_lengths())
        attend = batch.attend(scale=self.cfg.head_dim**-0.5, causal=not self.cfg.bidirectional)
        x = run_layers(self.layers, x, lambda layer, y, window: layer(y, attend, rotation, window), self.cfg.windows)
        return self.final_norm(x)


def decoder_weights(cfg: DecoderConfig) -> RuleTable:
    """Rules for the tensor names that Llama, Qwen2, Qwen3 and Gemma checkpoints share.

    Rules of parameters that a model does not have (biases, q/k norms) are not used; such a tensor is then unexpected.
    """
    del cfg
    hf, ours = "model.layers.{layer}.", "layers.{layer}."
    linear = {
        **{f"{hf}self_attn.{x}_proj": f"{ours}attn.{x}" for x in "qkvo"},
        **{f"{hf}mlp.{x}_proj": f"{ours}mlp.{x}" for x in ("gate", "up", "down")},
    }
    norms = {
        f"{hf}input_layernorm": f"{ours}attn_norm",
        f"{hf}post_attention_layernorm": f"{ours}mlp_norm",
        f"{hf}self_attn.q_norm": f"{ours}attn.q_norm",
        f"{hf}self_attn.k_norm": f"{ours}attn.k_norm",
        "model.norm": "final_norm",
    }
    weights = {"model.embed_tokens": "embed.tokens", **linear, **norms, "score": "head.score"}
    return RuleTable(
        rules=(
            *(Rule(f"{target}.weight", f"{source}.weight") for source, target in weights.items()),
            *(Rule(f"{target}.bias", f"{source}.bias") for source, target in linear.items()),
            # transformers' heads have no bias, other trainers' sometimes do.
            Rule("head.score.bias", "score.bias", default="zeros"),
        ),
        ignore=("lm_head.weight", "*.rotary_emb.inv_freq"),
        # Base-model checkpoints omit the prefix that the classifier's file has.
        renames=((r"^(embed_tokens|layers|norm)\.", r"model.\1."),),
    )

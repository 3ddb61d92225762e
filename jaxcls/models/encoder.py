"""The encoder family: post-norm transformer blocks with absolute positions (BERT, RoBERTa, XLM-RoBERTa)."""

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jaxcls.layers.attention import Attend, Attention
from jaxcls.layers.head import ClassificationHead
from jaxcls.layers.linear import Embedding
from jaxcls.layers.mlp import MLP
from jaxcls.layers.norm import LayerNorm
from jaxcls.layers.packed import PackedBatch
from jaxcls.layers.stack import build_layers, run_layers
from jaxcls.models.encoder_config import EncoderConfig
from weights.rules import Rule, RuleTable


class EncoderEmbedding(nnx.Module):
    """Word + position + token type embeddings, then LayerNorm."""

    def __init__(self, cfg: EncoderConfig, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.position_padding_id = cfg.position_padding_id
        self.tokens = Embedding(cfg.vocab_size, cfg.embed_dim, dtype=dtype, rngs=rngs)
        self.positions = Embedding(cfg.num_positions, cfg.embed_dim, dtype=dtype, rngs=rngs)
        self.token_types = Embedding(cfg.type_vocab_size, cfg.embed_dim, dtype=dtype, rngs=rngs)
        self.norm = LayerNorm(cfg.embed_dim, eps=cfg.norm_eps)

    def __call__(self, batch: PackedBatch) -> Float[Array, "T D"]:
        """Embeds every packed token."""
        x = self.tokens(batch.input_ids) + self.token_types(batch.token_type_ids)
        return self.norm(x + self.positions(self._position_ids(batch)))

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

    def __call__(self, x: Float[Array, "T D"], attend: Attend) -> Float[Array, "T D"]:
        """One block."""
        x = self.attn_norm(x + self.attn(x, attend))
        return self.mlp_norm(x + self.mlp(x, attend.num_tokens))


class EncoderClassifier(nnx.Module):
    """Embeddings and blocks; `head` scores what the pooler picks."""

    def __init__(self, cfg: EncoderConfig, rngs: nnx.Rngs, dtype: DTypeLike = jnp.float32, stacked: bool = False):
        self.cfg = cfg
        self.embed = EncoderEmbedding(cfg, dtype=dtype, rngs=rngs)
        self.layers = build_layers(
            lambda layer_rngs: EncoderLayer(cfg, dtype=dtype, rngs=layer_rngs),
            cfg.num_layers,
            stacked=stacked,
            rngs=rngs,
        )
        self.head = ClassificationHead(cfg.embed_dim, cfg.num_labels, cfg.head, rngs=rngs)

    def __call__(self, batch: PackedBatch) -> Float[Array, "T D"]:
        """Final hidden states of every packed token."""
        attend = batch.attend(scale=self.cfg.head_dim**-0.5, causal=False)
        x = self.embed(batch)
        return run_layers(self.layers, x, lambda layer, y, _: layer(y, attend), (None,) * self.cfg.num_layers)


def encoder_weights(prefix: str, head: dict[str, str]) -> RuleTable:
    """Rules for the tensor names below `prefix` ("bert", "roberta") that the family shares.

    Args:
        prefix: what the base model is called in the checkpoint.
        head: checkpoint module -> our module, for the head's linear layers.
    """
    embed, hf, ours = f"{prefix}.embeddings.", f"{prefix}.encoder.layer.{{layer}}.", "layers.{layer}."
    modules = {
        embed + "LayerNorm": "embed.norm",
        hf + "attention.self.query": ours + "attn.q",
        hf + "attention.self.key": ours + "attn.k",
        hf + "attention.self.value": ours + "attn.v",
        hf + "attention.output.dense": ours + "attn.o",
        hf + "attention.output.LayerNorm": ours + "attn_norm",
        hf + "intermediate.dense": ours + "mlp.up",
        hf + "output.dense": ours + "mlp.down",
        hf + "output.LayerNorm": ours + "mlp_norm",
        **head,
    }
    tables = {"word": "tokens", "position": "positions", "token_type": "token_types"}
    return RuleTable(
        rules=(
            *(Rule(f"embed.{ours_}.weight", f"{embed}{theirs}_embeddings.weight") for theirs, ours_ in tables.items()),
            *(
                Rule(f"{target}.{leaf}", f"{source}.{leaf}")
                for source, target in modules.items()
                for leaf in ("weight", "bias")
            ),
        ),
        ignore=(f"{prefix}.embeddings.position_ids", f"{prefix}.embeddings.token_type_ids", "lm_head.*", "cls.*"),
        renames=(
            # TensorFlow-era names of LayerNorm's parameters.
            (r"LayerNorm\.gamma$", "LayerNorm.weight"),
            (r"LayerNorm\.beta$", "LayerNorm.bias"),
            (r"^(embeddings|encoder|pooler)\.", rf"{prefix}.\1."),
        ),
    )

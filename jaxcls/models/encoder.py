"""The encoder family: post-norm transformer blocks with absolute positions (BERT and its descendants)."""

from collections.abc import Mapping
from functools import partial

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jaxcls.layers.attention import Attend, Attention
from jaxcls.layers.distance import DistanceBias
from jaxcls.layers.head import ClassificationHead
from jaxcls.layers.linear import Embedding, Linear
from jaxcls.layers.mlp import MLP
from jaxcls.layers.norm import LayerNorm
from jaxcls.layers.packed import PackedBatch
from jaxcls.layers.stack import build_layers, run_layers
from jaxcls.models.encoder_config import EncoderConfig
from weights.rules import Rule, RuleTable


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
    ) -> Float[Array, "T D"]:
        """One block; `bias` is added to the scores of its attention."""
        x = self.attn_norm(x + self.attn(x, attend, bias=bias))
        return self.mlp_norm(x + self.mlp(x, attend.num_tokens))


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
        self.head = ClassificationHead(cfg.embed_dim, cfg.num_labels, cfg.head, rngs=rngs)

    def __call__(self, batch: PackedBatch) -> Float[Array, "T D"]:
        """Final hidden states of every packed token."""
        attend = batch.attend(scale=self.cfg.head_dim**-0.5, causal=False)
        x = self.embed(batch)
        bias = None if self.distance_bias is None else self.distance_bias(attend.rows(x).shape[1])
        order = self.cfg.layer_order
        same = (None,) * (self.cfg.num_layers if order is None else len(order))
        return run_layers(self.layers, x, lambda layer, y, _: layer(y, attend, bias), same, order)


# Names within a block, as BERT's code has them -> ours.
BERT_BLOCK = {
    "attention.self.query": "attn.q",
    "attention.self.key": "attn.k",
    "attention.self.value": "attn.v",
    "attention.output.dense": "attn.o",
    "attention.output.LayerNorm": "attn_norm",
    "intermediate.dense": "mlp.up",
    "output.dense": "mlp.down",
    "output.LayerNorm": "mlp_norm",
}


def encoder_weights(
    prefix: str,
    modules: Mapping[str, str],
    *,
    blocks: str = "encoder.layer.{layer}.",
    block: Mapping[str, str] = BERT_BLOCK,
    ignore: tuple[str, ...] = ("lm_head.*", "cls.*"),
) -> RuleTable:
    """The family's rules.

    Args:
        prefix: what the base model is called in the checkpoint ("bert", "roberta").
        modules: checkpoint module -> our module, for the head and what else there is beside tables and blocks.
        blocks: where the blocks are below the prefix.
        block: checkpoint module -> our module within a block.
        ignore: patterns of the heads of pretraining.
    """
    embed = f"{prefix}.embeddings."
    all_modules = {
        embed + "LayerNorm": "embed.norm",
        **{f"{prefix}.{blocks}{theirs}": f"layers.{{layer}}.{ours}" for theirs, ours in block.items()},
        **modules,
    }
    tables = {"word": "tokens", "position": "positions", "token_type": "token_types", "task_type": "task_types"}
    return RuleTable(
        rules=(
            *(Rule(f"embed.{ours}.weight", f"{embed}{theirs}_embeddings.weight") for theirs, ours in tables.items()),
            *(
                Rule(f"{target}.{leaf}", f"{source}.{leaf}")
                for source, target in all_modules.items()
                for leaf in ("weight", "bias")
            ),
        ),
        # Files often keep the pretraining pooler beside a head that does not use it.
        ignore=(f"{embed}position_ids", f"{embed}token_type_ids", f"{prefix}.pooler.*", *ignore),
        renames=(
            # TensorFlow-era names of LayerNorm's parameters.
            (r"LayerNorm\.gamma$", "LayerNorm.weight"),
            (r"LayerNorm\.beta$", "LayerNorm.bias"),
            (r"^(embeddings|embeddings_project|encoder|pooler|transformer)\.", rf"{prefix}.\1."),
        ),
    )

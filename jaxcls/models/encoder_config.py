"""The flags of the encoder family, and the keys of config.json that its members share."""

import dataclasses
from collections.abc import Callable
from typing import Any

from jaxcls.config.hf import HfView
from jaxcls.layers.head import LINEAR, HeadConfig, ProjectionConfig


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
    """The flags in which the family's members differ."""

    vocab_size: int
    embed_dim: int
    mlp_dim: int
    num_layers: int
    num_heads: int
    num_positions: int
    max_len: int
    type_vocab_size: int  # 0: no token types
    num_labels: int
    pad_token_id: int | None
    activation: str
    norm_eps: float
    head: HeadConfig | ProjectionConfig
    # RoBERTa numbers positions from here, leaving out tokens equal to the padding id; None: plain 0, 1, 2 ...
    position_padding_id: int | None = None
    # Width of the embedding tables where it is projected to embed_dim (ELECTRA, ALBERT).
    table_dim: int | None = None
    # Rows of ERNIE's task type table; every task is 0.
    num_task_types: int = 0
    # Buckets of distances that all layers' scores have a bias for (MPNet).
    num_distance_buckets: int | None = None
    # Groups of layers that share their parameters, and layers within each (ALBERT); None: every layer has its own.
    num_groups: int | None = None
    group_layers: int = 1
    flash_layout: bool = False  # tensor names of Jina's XLM-RoBERTa
    absolute_positions: bool = True
    plain_attention: bool = True
    kv_heads_per_layer: None = None  # tokens see later ones

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.embed_dim // self.num_heads

    @property
    def layer_order(self) -> tuple[int, ...] | None:
        """Which set of parameters is used at each step, where steps share them."""
        if self.num_groups is None:
            return None
        # As transformers computes it, rounding included.
        groups = [int(layer / (self.num_layers / self.num_groups)) for layer in range(self.num_layers)]
        return tuple(group * self.group_layers + inner for group in groups for inner in range(self.group_layers))


@dataclasses.dataclass(frozen=True)
class EncoderDefaults:
    """Values of absent keys, where transformers' config classes differ."""

    vocab_size: int = 30522
    pad_token_id: int = 0
    hidden_size: int = 768
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"


def encoder_config(
    hf: HfView,
    defaults: EncoderDefaults,
    *,
    head: HeadConfig,
    roberta_positions: bool = False,
    token_types: bool = True,
) -> EncoderConfig:
    """Reads the keys that BERT's descendants share; defaults are those of transformers' classes."""
    # Old releases had positions within the attention.
    hf.expect("position_embedding_type", "absolute")
    pad = hf.optional_int("pad_token_id", defaults.pad_token_id)
    num_positions = hf.int("max_position_embeddings", 512)
    offset = 0
    if roberta_positions:
        if pad is None:
            raise hf.error("pad_token_id", None, "RoBERTa positions are counted from the padding id")
        offset = pad + 1
    num_heads = hf.int("num_attention_heads", defaults.num_attention_heads)
    embed_dim = hf.int("hidden_size", defaults.hidden_size)
    if embed_dim % num_heads:
        raise hf.error("num_attention_heads", num_heads, f"it does not divide hidden_size = {embed_dim}")
    return EncoderConfig(
        vocab_size=hf.int("vocab_size", defaults.vocab_size),
        embed_dim=embed_dim,
        mlp_dim=hf.int("intermediate_size", defaults.intermediate_size),
        num_layers=hf.int("num_hidden_layers", 12),
        num_heads=num_heads,
        num_positions=num_positions,
        max_len=num_positions - offset,
        type_vocab_size=hf.int("type_vocab_size", 2) if token_types else 0,
        num_labels=hf.num_labels,
        pad_token_id=pad,
        activation=hf.activation("hidden_act", defaults.hidden_act),
        norm_eps=hf.float("layer_norm_eps", 1e-12),
        head=head,
        position_padding_id=pad if roberta_positions else None,
    )


def of_tokens(config: Callable[[HfView], Any]) -> Callable[[HfView], Any]:
    """The config of an architecture's token classifier, whose head is a linear layer and nothing else."""

    def token_config(hf: HfView) -> Any:
        return dataclasses.replace(config(hf), head=LINEAR)

    return token_config

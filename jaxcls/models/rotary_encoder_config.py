"""The flags of the rotary encoder family, and the keys of config.json that its members share."""

import dataclasses
from typing import Any

from jaxcls.config.hf import HfView
from jaxcls.config.pooler import Pooling
from jaxcls.layers.head import HeadConfig, ProjectionConfig
from jaxcls.layers.rope import RopeConfig


@dataclasses.dataclass(frozen=True)
class LayerKind:
    """What a layer is given beside its parameters.

    Attributes:
        rope: how its queries and keys are rotated.
        window: a token sees those at a distance below it; None: all.
        normed: whether a pre-norm layer normalises what its attention reads.
    """

    rope: RopeConfig
    window: int | None = None
    normed: bool = True


@dataclasses.dataclass(frozen=True)
class RotaryEncoderConfig:
    """The flags in which the family's members differ."""

    vocab_size: int
    embed_dim: int
    mlp_dim: int
    num_layers: int
    num_heads: int
    head_dim: int
    max_len: int
    type_vocab_size: int  # 0: there is no table of token types
    num_labels: int
    pad_token_id: int | None
    activation: str
    norm_eps: float
    head: HeadConfig | ProjectionConfig
    kinds: tuple[LayerKind, ...]  # one a layer
    pre_norm: bool = False  # norms before attention and MLP and after the last layer, rather than after each
    gated: bool = True
    qkv_bias: bool = True
    out_bias: bool = True
    up_bias: bool = True  # of the gate too
    down_bias: bool = True
    norm_bias: bool = True
    pooling: Pooling = "CLS"
    absolute_positions: bool = False
    plain_attention: bool = True
    kv_heads_per_layer: None = None  # tokens see later ones

    @property
    def rope(self) -> RopeConfig:
        """The first layer's, which for most members is that of all."""
        return self.kinds[0].rope


@dataclasses.dataclass(frozen=True)
class RotaryDefaults:
    """What the config class says where config.json says nothing."""

    vocab_size: int
    max_position_embeddings: int
    hidden_size: int = 768
    intermediate_size: int = 3072
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    type_vocab_size: int = 1
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-12
    pad_token_id: int | None = None


def shared_keys(hf: HfView, defaults: RotaryDefaults) -> dict[str, Any]:
    """Fields of RotaryEncoderConfig that are read from the keys which BERT made common."""
    embed_dim = hf.int("hidden_size", defaults.hidden_size)
    num_heads = hf.int("num_attention_heads", defaults.num_attention_heads)
    if embed_dim % num_heads:
        raise hf.error("num_attention_heads", num_heads, f"it does not divide hidden_size = {embed_dim}")
    return {
        "vocab_size": hf.int("vocab_size", defaults.vocab_size),
        "embed_dim": embed_dim,
        "mlp_dim": hf.int("intermediate_size", defaults.intermediate_size),
        "num_layers": hf.int("num_hidden_layers", defaults.num_hidden_layers),
        "num_heads": num_heads,
        "head_dim": embed_dim // num_heads,
        "max_len": hf.int("max_position_embeddings", defaults.max_position_embeddings),
        "type_vocab_size": hf.int("type_vocab_size", defaults.type_vocab_size),
        "num_labels": hf.num_labels,
        "pad_token_id": hf.optional_int("pad_token_id", defaults.pad_token_id),
        "activation": hf.activation("hidden_act", defaults.hidden_act),
        "norm_eps": hf.float("layer_norm_eps", defaults.layer_norm_eps),
    }


def uniform(shared: dict[str, Any], rope: RopeConfig, **flags: Any) -> RotaryEncoderConfig:
    """A config whose layers are all of one kind; a dynamic rope reaches beyond max_position_embeddings."""
    own = {"kinds": (LayerKind(rope),) * shared["num_layers"], "max_len": rope.longest(shared["max_len"])}
    return RotaryEncoderConfig(**(shared | own | flags))

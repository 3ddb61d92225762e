"""The flags of the decoder family, and the keys of config.json that all its members share."""

import dataclasses
from collections.abc import Callable
from typing import Any

from jaxcls.config.hf import HfView
from jaxcls.config.pooler import Pooling
from jaxcls.config.rope import rope_config
from jaxcls.layers.head import LINEAR, HeadConfig
from jaxcls.layers.rope import RopeConfig

Windows = tuple[int | None, ...]


@dataclasses.dataclass(frozen=True)
class DecoderConfig:
    """The flags in which the family's members differ."""

    vocab_size: int
    embed_dim: int
    mlp_dim: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    max_len: int
    num_labels: int
    pad_token_id: int | None
    activation: str
    norm_eps: float
    rope: RopeConfig
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    norm_offset: float = 0.0  # Gemma's norms multiply by 1 + weight
    embed_scale: float = 1.0  # Gemma multiplies embeddings by sqrt(D)
    windows: tuple[int | None, ...] = ()  # one a layer; None = full attention
    bidirectional: bool = False
    head: HeadConfig = LINEAR
    pooling: Pooling = "LAST"
    type_vocab_size: int = 0
    absolute_positions: bool = False
    plain_attention: bool = True


@dataclasses.dataclass(frozen=True)
class DecoderDefaults:
    """What transformers' config class says where config.json says nothing."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    max_position_embeddings: int
    num_key_value_heads: int | None = None  # None: as many as there are query heads
    head_dim: int | None = None  # None: hidden_size / num_attention_heads
    hidden_act: str = "silu"
    pad_token_id: int | None = None
    rms_norm_eps: float = 1e-6


def decoder_config(
    hf: HfView,
    defaults: DecoderDefaults,
    *,
    windows: Callable[[HfView, int], Windows] | None = None,
    **flags: Any,
) -> DecoderConfig:
    """Reads the keys that all decoders share.

    Args:
        hf: the config being read.
        defaults: of the architecture's config class.
        windows: reads the sliding windows, given the number of layers; None: full attention everywhere.
        **flags: fields of DecoderConfig that the architecture sets or reads itself.
    """
    embed_dim = hf.int("hidden_size", defaults.hidden_size)
    num_heads = hf.int("num_attention_heads", defaults.num_attention_heads)
    num_layers = hf.int("num_hidden_layers", defaults.num_hidden_layers)
    head_dim = hf.int("head_dim", defaults.head_dim or embed_dim // num_heads)
    trained_len = hf.int("max_position_embeddings", defaults.max_position_embeddings)
    rope = rope_config(hf, head_dim=head_dim, max_len=trained_len)
    shared: dict[str, Any] = {
        "vocab_size": hf.int("vocab_size", defaults.vocab_size),
        "embed_dim": embed_dim,
        "mlp_dim": hf.int("intermediate_size", defaults.intermediate_size),
        "num_layers": num_layers,
        "num_heads": num_heads,
        # A null always means as many as there are query heads; an absent key may not.
        "num_kv_heads": hf.optional_int("num_key_value_heads", defaults.num_key_value_heads) or num_heads,
        "head_dim": head_dim,
        "max_len": rope.longest(trained_len),
        "num_labels": hf.num_labels,
        "pad_token_id": hf.optional_int("pad_token_id", defaults.pad_token_id),
        "activation": hf.activation("hidden_act", defaults.hidden_act),
        "norm_eps": hf.float("rms_norm_eps", defaults.rms_norm_eps),
        "rope": rope,
        "windows": (None,) * num_layers if windows is None else windows(hf, num_layers),
    }
    return DecoderConfig(**(shared | flags))

"""The flags of the decoder family, and the keys of config.json that all its members share."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from jaxcls.config.hf import HfView
from jaxcls.config.pooler import Pooling
from jaxcls.config.rope import rope_config
from jaxcls.layers.head import LINEAR, HeadConfig, ProjectionConfig
from jaxcls.layers.moe import MixtureConfig
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
    local_rope: RopeConfig | None = None  # of layers with a window; None: as everywhere
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    norm_offset: float = 0.0  # Gemma's norms multiply by 1 + weight
    post_norms: bool = False  # what attention and MLP give is normalised too (Gemma 2 and 3)
    embed_scale: float = 1.0  # Gemma multiplies embeddings by sqrt(D)
    windows: tuple[int | None, ...] = ()  # one a layer; None = full attention
    bidirectional: bool = False
    attn_scale: float | None = None  # of the scores; None: H^-0.5
    soft_cap: float | None = None  # of the scores
    mixture: MixtureConfig | None = None  # of the layers that have experts in place of one MLP
    sparse: tuple[bool, ...] = ()  # one a layer: whether it has experts; empty: no layer has
    head: HeadConfig | ProjectionConfig = LINEAR
    pooling: Pooling = "LAST"  # where config.json says it
    score_token_id: int | None = None  # ends every text (InternLM2's rewards)
    type_vocab_size: int = 0
    absolute_positions: bool = False
    plain_attention: bool = True

    @property
    def kv_heads_per_layer(self) -> int | None:
        """See `ModelConfig`."""
        ropes = [rope for rope in (self.rope, self.local_rope) if rope is not None]
        fixed = not self.bidirectional and not any(rope.depends_on_length for rope in ropes)
        return self.num_kv_heads if fixed else None


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
    norm_eps: float = 1e-6


def decoder_config(
    hf: HfView,
    defaults: DecoderDefaults,
    *,
    windows: Callable[[HfView, int], Windows] | None = None,
    rope: RopeConfig | None = None,
    **flags: Any,
) -> DecoderConfig:
    """Reads the keys that all decoders share.

    Args:
        hf: the config being read.
        defaults: of the architecture's config class.
        windows: reads the sliding windows, given the number of layers; None: full attention everywhere.
        rope: the rotary settings where they are not read in the usual way.
        **flags: fields of DecoderConfig that the architecture sets or reads itself.
    """
    embed_dim = hf.int("hidden_size", defaults.hidden_size)
    num_heads = hf.int("num_attention_heads", defaults.num_attention_heads)
    num_layers = hf.int("num_hidden_layers", defaults.num_hidden_layers)
    head_dim = hf.int("head_dim", defaults.head_dim or embed_dim // num_heads)
    trained_len = hf.int("max_position_embeddings", defaults.max_position_embeddings)
    rope = rope or rope_config(hf, head_dim=head_dim, max_len=trained_len)
    # Of token classifiers: whether the head has a bias, which the weights say too.
    hf.ignore("token_classification_bias")
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
        # An architecture that names its activation itself has read the keys for it.
        "activation": flags.get("activation") or hf.activation("hidden_act", defaults.hidden_act),
        "norm_eps": hf.float("rms_norm_eps", defaults.norm_eps),
        "rope": rope,
        "windows": (None,) * num_layers if windows is None else windows(hf, num_layers),
    }
    return DecoderConfig(**(shared | flags))


def every_window(hf: HfView, num_layers: int, default: int | None) -> Windows:
    """`sliding_window` in every layer; null: in none."""
    return (hf.optional_int("sliding_window", default),) * num_layers


def typed_windows(hf: HfView, layer_types: Sequence[str], num_layers: int, window: int | None) -> Windows:
    """The window of those layers that `layer_types` calls sliding."""
    if len(layer_types) != num_layers:
        raise hf.error("layer_types", layer_types, f"it must name {num_layers} layers")
    unknown = set(layer_types) - {"full_attention", "sliding_attention"}
    if unknown:
        raise hf.error("layer_types", sorted(unknown), "known are full_attention and sliding_attention")
    if window is None and "sliding_attention" in layer_types:
        raise hf.error("layer_types", layer_types, "sliding layers need a sliding_window that is in use")
    return tuple(window if kind == "sliding_attention" else None for kind in layer_types)


def periodic_windows(hf: HfView, num_layers: int, window: int | None, period: int) -> Windows:
    """`layer_types` if given, else every layer slides but each `period`-th."""
    layer_types = hf.raw("layer_types", None)
    if layer_types is None:
        layer_types = [f"{'sliding' if (i + 1) % period else 'full'}_attention" for i in range(num_layers)]
    return typed_windows(hf, layer_types, num_layers, window)

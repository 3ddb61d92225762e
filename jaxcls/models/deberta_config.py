"""What DeBERTa's config.json says, version 1 and version 2 (which version 3 shares)."""

import dataclasses
from typing import Any

from jaxcls.config.hf import HfView
from jaxcls.layers.disentangled import RelativeConfig, RelativeKind
from jaxcls.layers.head import LINEAR, HeadConfig, ProjectionConfig


@dataclasses.dataclass(frozen=True)
class DebertaConfig:
    """The flags in which the members of the family differ.

    Attributes:
        table_dim: width of the embedding tables; where it is not embed_dim, a projection follows.
        scale: of the sum of all products.
        key_bias: whether k has a bias.
        num_positions: rows of the table of absolute positions, 0: there is none.
        relative: None: there are no relative positions.
        relative_norm: whether a LayerNorm follows their table.
        own_projections: whether they have projections of their own, apart from those of words.
        conv_width: of the convolution beside the first layer; 0: there is none.
    """

    vocab_size: int
    table_dim: int
    embed_dim: int
    mlp_dim: int
    num_layers: int
    num_heads: int
    num_positions: int
    max_len: int
    type_vocab_size: int
    num_labels: int
    pad_token_id: int | None
    activation: str
    norm_eps: float
    head: HeadConfig | ProjectionConfig
    scale: float
    key_bias: bool
    relative: RelativeConfig | None
    relative_norm: bool = False
    own_projections: bool = True
    conv_width: int = 0
    conv_activation: str = "tanh"
    # The limit of the tokenizer holds for relative positions as well: their models were trained no further.
    absolute_positions: bool = True

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.embed_dim // self.num_heads

    @property
    def plain_attention(self) -> bool:
        """Relative positions are a bias."""
        return self.relative is None

    @property
    def kv_heads_per_layer(self) -> None:
        """Tokens see later ones."""
        return None


def config_v1(hf: HfView) -> DebertaConfig:
    """Reads config.json of a classifier of sequences; defaults are transformers' DebertaConfig."""
    return _version_1(hf, _pooler(hf, 768))


def config_v1_tokens(hf: HfView) -> DebertaConfig:
    """The same of a classifier of tokens, which has no pooler."""
    return _version_1(hf, _no_pooler(hf))


def config_v2(hf: HfView) -> DebertaConfig:
    """Reads config.json of a classifier of sequences; defaults are transformers' DebertaV2Config."""
    return _version_2(hf, _pooler(hf, 1536))


def config_v2_tokens(hf: HfView) -> DebertaConfig:
    """The same of a classifier of tokens, which has no pooler."""
    return _version_2(hf, _no_pooler(hf))


def _pooler(hf: HfView, hidden_size: int) -> HeadConfig:
    hf.expect("pooler_hidden_size", hf.int("hidden_size", hidden_size))
    return HeadConfig(hf.activation("pooler_hidden_act", "gelu"), on_tokens=False)


def _no_pooler(hf: HfView) -> HeadConfig:
    hf.ignore("pooler_hidden_size", "pooler_hidden_act")
    return LINEAR


def _version_1(hf: HfView, head: HeadConfig) -> DebertaConfig:
    hf.expect("talking_head", False)
    # torch leaves the gradient of that row out.
    hf.ignore("padding_idx")
    shared = _shared(hf, vocab_size=50265, hidden_size=768, layers=12, heads=12, intermediate_size=3072)
    relative = _relative(hf, _kinds(hf), num_buckets=0)
    return DebertaConfig(**shared, head=head, key_bias=False, relative=relative)


def _version_2(hf: HfView, head: HeadConfig) -> DebertaConfig:
    shared = _shared(hf, vocab_size=128100, hidden_size=1536, layers=24, heads=24, intermediate_size=6144)
    hf.expect("attention_head_size", shared["embed_dim"] // shared["num_heads"])
    hf.expect("conv_groups", 1)
    width = max(hf.int("conv_kernel_size", 0), 0)
    if width and width % 2 == 0:
        raise hf.error("conv_kernel_size", width, "an even width has no middle")
    norms = [name.strip() for name in str(hf.raw("norm_rel_ebd", "none")).lower().split("|")]
    if unknown := set(norms) - {"none", "layer_norm"}:
        raise hf.error("norm_rel_ebd", sorted(unknown), "known are none and layer_norm")
    return DebertaConfig(
        **shared,
        head=head,
        key_bias=True,
        relative=_relative(hf, _kinds(hf), num_buckets=max(hf.int("position_buckets", -1), 0)),
        relative_norm="layer_norm" in norms,
        own_projections=not hf.bool("share_att_key", False),
        conv_width=width,
        conv_activation=hf.activation("conv_act", "tanh"),
    )


def _shared(
    hf: HfView, *, vocab_size: int, hidden_size: int, layers: int, heads: int, intermediate_size: int
) -> dict[str, Any]:
    """The keys that both versions have."""
    # The pretraining head, and dropout.
    hf.ignore("legacy", "pooler_dropout", "cls_dropout")
    embed_dim, num_heads = hf.int("hidden_size", hidden_size), hf.int("num_attention_heads", heads)
    if embed_dim % num_heads:
        raise hf.error("num_attention_heads", num_heads, f"it does not divide hidden_size = {embed_dim}")
    longest = hf.int("max_position_embeddings", 512)
    # Products share one scale, and there is one for each kind whether or not there are relative positions.
    products = 1 + len(_kinds(hf))
    return {
        "vocab_size": hf.int("vocab_size", vocab_size),
        "table_dim": hf.optional_int("embedding_size", None) or embed_dim,
        "embed_dim": embed_dim,
        "mlp_dim": hf.int("intermediate_size", intermediate_size),
        "num_layers": hf.int("num_hidden_layers", layers),
        "num_heads": num_heads,
        "num_positions": longest if hf.bool("position_biased_input", True) else 0,
        "max_len": longest,
        "type_vocab_size": hf.int("type_vocab_size", 0),
        "num_labels": hf.num_labels,
        "pad_token_id": hf.optional_int("pad_token_id", 0),
        "activation": hf.activation("hidden_act", "gelu"),
        "norm_eps": hf.float("layer_norm_eps", 1e-7),
        "scale": (embed_dim // num_heads * products) ** -0.5,
    }


def _kinds(hf: HfView) -> tuple[RelativeKind, ...]:
    """`pos_att_type`: a list, or names with bars between."""
    given = hf.raw("pos_att_type", None)
    names = [name.strip() for name in given.lower().split("|")] if isinstance(given, str) else given or []
    if not isinstance(names, list) or not set(names) <= {"c2p", "p2c"} or len(set(names)) < len(names):
        raise hf.error("pos_att_type", given, "known are c2p and p2c, each once")
    kinds: tuple[RelativeKind, ...] = ("c2p", "p2c")
    return tuple(kind for kind in kinds if kind in names)


def _relative(hf: HfView, kinds: tuple[RelativeKind, ...], *, num_buckets: int) -> RelativeConfig | None:
    longest = hf.int("max_relative_positions", -1)
    if longest < 1:
        longest = hf.int("max_position_embeddings", 512)
    if not hf.bool("relative_attention", False) or not kinds:
        return None
    if num_buckets and not 1 < num_buckets // 2 + 1 < longest:
        raise hf.error("position_buckets", num_buckets, f"it must be 2 or more, and half of it below {longest} - 1")
    return RelativeConfig(kinds, longest, num_buckets)

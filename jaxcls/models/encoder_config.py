"""The flags of the encoder family, and the keys of config.json that its members share."""

import dataclasses

from jaxcls.config.hf import HfView
from jaxcls.layers.head import HeadConfig


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
    type_vocab_size: int
    num_labels: int
    pad_token_id: int | None
    activation: str
    norm_eps: float
    head: HeadConfig
    # RoBERTa numbers positions from here, leaving out tokens equal to the padding id; None: plain 0, 1, 2 ...
    position_padding_id: int | None = None
    absolute_positions: bool = True
    plain_attention: bool = True

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.embed_dim // self.num_heads


def encoder_config(
    hf: HfView, *, head: HeadConfig, vocab_size: int, pad_token_id: int, roberta_positions: bool
) -> EncoderConfig:
    """Reads the keys that BERT and RoBERTa configs share; defaults are those of transformers' classes."""
    hf.expect("is_decoder", False)
    hf.expect("add_cross_attention", False)
    hf.expect("position_embedding_type", "absolute")
    pad = hf.optional_int("pad_token_id", pad_token_id)
    num_positions = hf.int("max_position_embeddings", 512)
    offset = 0
    if roberta_positions:
        if pad is None:
            raise hf.error("pad_token_id", None, "RoBERTa positions are counted from the padding id")
        offset = pad + 1
    num_heads, embed_dim = hf.int("num_attention_heads", 12), hf.int("hidden_size", 768)
    if embed_dim % num_heads:
        raise hf.error("num_attention_heads", num_heads, f"it does not divide hidden_size = {embed_dim}")
    return EncoderConfig(
        vocab_size=hf.int("vocab_size", vocab_size),
        embed_dim=embed_dim,
        mlp_dim=hf.int("intermediate_size", 3072),
        num_layers=hf.int("num_hidden_layers", 12),
        num_heads=num_heads,
        num_positions=num_positions,
        max_len=num_positions - offset,
        type_vocab_size=hf.int("type_vocab_size", 2),
        num_labels=hf.num_labels,
        pad_token_id=pad,
        activation=hf.activation("hidden_act", "gelu"),
        norm_eps=hf.float("layer_norm_eps", 1e-12),
        head=head,
        position_padding_id=pad if roberta_positions else None,
    )

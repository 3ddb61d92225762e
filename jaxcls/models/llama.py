"""LlamaForSequenceClassification."""

from jaxcls.config.hf import HfView
from jaxcls.config.rope import rope_config
from jaxcls.models.architecture import Architecture
from jaxcls.models.decoder import DecoderClassifier, DecoderConfig, decoder_weights


def config(hf: HfView) -> DecoderConfig:
    """Reads config.json; defaults are transformers' LlamaConfig."""
    # A way of slicing the products for tensor parallel training; the result is the same.
    hf.ignore("pretraining_tp", "tie_word_embeddings")
    num_heads, embed_dim = hf.int("num_attention_heads", 32), hf.int("hidden_size", 4096)
    num_layers = hf.int("num_hidden_layers", 32)
    head_dim = hf.int("head_dim", embed_dim // num_heads)
    bias = hf.bool("attention_bias", False)
    trained_len = hf.int("max_position_embeddings", 2048)
    rope = rope_config(hf, head_dim=head_dim, max_len=trained_len)
    return DecoderConfig(
        vocab_size=hf.int("vocab_size", 32000),
        embed_dim=embed_dim,
        mlp_dim=hf.int("intermediate_size", 11008),
        num_layers=num_layers,
        num_heads=num_heads,
        num_kv_heads=hf.int("num_key_value_heads", num_heads),
        head_dim=head_dim,
        max_len=rope.longest(trained_len),
        num_labels=hf.num_labels,
        pad_token_id=hf.optional_int("pad_token_id", None),
        activation=hf.activation("hidden_act", "silu"),
        norm_eps=hf.float("rms_norm_eps", 1e-6),
        rope=rope,
        qkv_bias=bias,
        out_bias=bias,
        mlp_bias=hf.bool("mlp_bias", False),
        windows=(None,) * num_layers,
    )


ARCHITECTURE = Architecture(
    names=("LlamaForSequenceClassification",),
    summary="Llama 2 and 3; reward models and classifiers",
    config=config,
    build=DecoderClassifier,
    weights=decoder_weights,
    pooling="LAST",
    example="Skywork/Skywork-Reward-V2-Llama-3.2-1B",
)

"""GemmaForSequenceClassification: Llama with scaled embeddings, norms of 1 + weight and a tanh-GELU gate."""

from jaxcls.config.hf import HfView
from jaxcls.config.rope import rope_config
from jaxcls.models.architecture import Architecture
from jaxcls.models.decoder import DecoderClassifier, DecoderConfig, decoder_weights


def _activation(hf: HfView) -> str:
    """The first releases said "gelu" and meant the tanh form; later ones say so in `hidden_activation`."""
    named = hf.activation("hidden_act", "gelu_pytorch_tanh")
    newer = hf.raw("hidden_activation", None)
    if newer not in (None, "gelu", "gelu_pytorch_tanh"):
        raise hf.error("hidden_activation", newer, "Gemma is known with gelu_pytorch_tanh only")
    return "gelu_pytorch_tanh" if named == "gelu" else named


def config(hf: HfView) -> DecoderConfig:
    """Reads config.json; defaults are transformers' GemmaConfig."""
    hf.ignore("tie_word_embeddings")
    num_layers, embed_dim = hf.int("num_hidden_layers", 28), hf.int("hidden_size", 3072)
    head_dim = hf.int("head_dim", 256)
    bias = hf.bool("attention_bias", False)
    trained_len = hf.int("max_position_embeddings", 8192)
    rope = rope_config(hf, head_dim=head_dim, max_len=trained_len)
    return DecoderConfig(
        vocab_size=hf.int("vocab_size", 256000),
        embed_dim=embed_dim,
        mlp_dim=hf.int("intermediate_size", 24576),
        num_layers=num_layers,
        num_heads=hf.int("num_attention_heads", 16),
        num_kv_heads=hf.int("num_key_value_heads", 16),
        head_dim=head_dim,
        max_len=rope.longest(trained_len),
        num_labels=hf.num_labels,
        pad_token_id=hf.optional_int("pad_token_id", 0),
        activation=_activation(hf),
        norm_eps=hf.float("rms_norm_eps", 1e-6),
        rope=rope,
        qkv_bias=bias,
        out_bias=bias,
        norm_offset=1.0,
        embed_scale=embed_dim**0.5,
        windows=(None,) * num_layers,
        bidirectional=hf.bool("use_bidirectional_attention", False),
    )


ARCHITECTURE = Architecture(
    names=("GemmaForSequenceClassification",),
    summary="Gemma; reward models and classifiers",
    config=config,
    build=DecoderClassifier,
    weights=decoder_weights,
    pooling="LAST",
    example="weqweasdas/RM-Gemma-2B",
)

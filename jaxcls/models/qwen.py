"""Qwen2ForSequenceClassification and Qwen3ForSequenceClassification."""

from jaxcls.config.hf import HfView
from jaxcls.config.rope import rope_config
from jaxcls.models.architecture import Architecture
from jaxcls.models.decoder import DecoderClassifier, DecoderConfig, decoder_weights


def _windows(hf: HfView, num_layers: int) -> tuple[int | None, ...]:
    """Sliding windows a layer: `layer_types` if given, else the layers from `max_window_layers` on."""
    enabled = hf.bool("use_sliding_window", False)
    width = hf.optional_int("sliding_window", 4096)
    first = hf.int("max_window_layers", 28)
    layer_types = hf.raw("layer_types", None)
    window = width if enabled else None
    if layer_types is None:
        return tuple(window if layer >= first else None for layer in range(num_layers))
    if len(layer_types) != num_layers:
        raise hf.error("layer_types", layer_types, f"it must name {num_layers} layers")
    unknown = set(layer_types) - {"full_attention", "sliding_attention"}
    if unknown:
        raise hf.error("layer_types", sorted(unknown), "known are full_attention and sliding_attention")
    if window is None and "sliding_attention" in layer_types:
        raise hf.error("layer_types", layer_types, "sliding layers need use_sliding_window and sliding_window")
    return tuple(window if kind == "sliding_attention" else None for kind in layer_types)


def _config(hf: HfView, *, qwen3: bool) -> DecoderConfig:
    hf.ignore("tie_word_embeddings")
    hf.expect("use_mrope", False)
    num_heads, embed_dim = hf.int("num_attention_heads", 32), hf.int("hidden_size", 4096)
    num_layers = hf.int("num_hidden_layers", 32)
    head_dim = hf.int("head_dim", 128 if qwen3 else embed_dim // num_heads)
    trained_len = hf.int("max_position_embeddings", 32768)
    rope = rope_config(hf, head_dim=head_dim, max_len=trained_len)
    bias = hf.bool("attention_bias", False) if qwen3 else False
    return DecoderConfig(
        vocab_size=hf.int("vocab_size", 151936),
        embed_dim=embed_dim,
        mlp_dim=hf.int("intermediate_size", 22016),
        num_layers=num_layers,
        num_heads=num_heads,
        # Absent means 32, null as many as there are query heads.
        num_kv_heads=hf.optional_int("num_key_value_heads", 32) or num_heads,
        head_dim=head_dim,
        max_len=rope.longest(trained_len),
        num_labels=hf.num_labels,
        pad_token_id=hf.optional_int("pad_token_id", None),
        activation=hf.activation("hidden_act", "silu"),
        norm_eps=hf.float("rms_norm_eps", 1e-6),
        rope=rope,
        qkv_bias=bias or not qwen3,
        out_bias=bias,
        qk_norm=qwen3,
        windows=_windows(hf, num_layers),
    )


def config_qwen2(hf: HfView) -> DecoderConfig:
    """Reads config.json; defaults are transformers' Qwen2Config. q, k and v have biases, o has none."""
    return _config(hf, qwen3=False)


def config_qwen3(hf: HfView) -> DecoderConfig:
    """Reads config.json; defaults are transformers' Qwen3Config. Per-head RMSNorm on q and k, explicit head_dim."""
    return _config(hf, qwen3=True)


QWEN2 = Architecture(
    names=("Qwen2ForSequenceClassification",),
    summary="Qwen2 and Qwen2.5; classifiers and rerankers",
    config=config_qwen2,
    build=DecoderClassifier,
    weights=decoder_weights,
    pooling="LAST",
    example="jason9693/Qwen2.5-1.5B-apeach",
)

QWEN3 = Architecture(
    names=("Qwen3ForSequenceClassification",),
    summary="Qwen3; reward models and rerankers",
    config=config_qwen3,
    build=DecoderClassifier,
    weights=decoder_weights,
    pooling="LAST",
    example="Skywork/Skywork-Reward-V2-Qwen3-0.6B",
)

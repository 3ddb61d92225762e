"""ModernBERT: pre-norm, sliding and full attention with a rope each, head (dense, activation, norm) -> classifier.

The first layer's attention reads the normalised embeddings as they are. The head is applied to the first token, to the
mean of all or, for token classification, to each.
"""

from jaxcls.config.hf import HfView
from jaxcls.config.pooler import Pooling
from jaxcls.config.rope import nested_rope_config
from jaxcls.layers.head import HeadConfig
from jaxcls.layers.rope import RopeConfig
from jaxcls.models.architecture import Architecture
from jaxcls.models.rotary_encoder import RotaryEncoderClassifier
from jaxcls.models.rotary_encoder_config import LayerKind, RotaryEncoderConfig
from jaxcls.models.rotary_encoder_weights import fused_qkv, in_layers, rules_of, split
from weights.rules import RuleTable

FULL, SLIDING = "full_attention", "sliding_attention"
_POOLING: dict[str, Pooling] = {"cls": "CLS", "mean": "MEAN"}


def _layer_types(hf: HfView, num_layers: int) -> list[str]:
    """`layer_types` (transformers 5), or every nth layer full and the others sliding (4)."""
    every = hf.int("global_attn_every_n_layers", 3)
    if every < 1:
        raise hf.error("global_attn_every_n_layers", every, "it must be at least 1")
    types = hf.raw("layer_types", None)
    if types is None:
        return [SLIDING if layer % every else FULL for layer in range(num_layers)]
    if len(types) != num_layers or set(types) - {FULL, SLIDING}:
        raise hf.error("layer_types", types, f"it must name {num_layers} layers, each {FULL} or {SLIDING}")
    return types


def _ropes(hf: HfView, head_dim: int, max_len: int) -> dict[str, RopeConfig]:
    """One rope for each type of layer: `rope_parameters` by type (transformers 5), or a theta each (4)."""
    nested = hf.raw("rope_parameters", None) or {}
    scaling = hf.raw("rope_scaling", None) or {}
    if set(nested) - {FULL, SLIDING}:
        raise hf.error("rope_parameters", nested, f"one dictionary each for {FULL} and {SLIDING} is supported")
    thetas = {FULL: hf.raw("global_rope_theta", 160000.0), SLIDING: hf.raw("local_rope_theta", 10000.0)}
    values = {kind: {**(nested.get(kind) or {}), **scaling} for kind in thetas}
    return {
        kind: nested_rope_config(hf, values[kind], head_dim=head_dim, max_len=max_len, theta=theta)
        for kind, theta in thetas.items()
    }


def config(hf: HfView) -> RotaryEncoderConfig:
    """Reads config.json; defaults are transformers' ModernBertConfig."""
    embed_dim, num_heads = hf.int("hidden_size", 768), hf.int("num_attention_heads", 12)
    if embed_dim % num_heads:
        raise hf.error("num_attention_heads", num_heads, f"it does not divide hidden_size = {embed_dim}")
    num_layers, max_len = hf.int("num_hidden_layers", 22), hf.int("max_position_embeddings", 8192)
    head_dim = embed_dim // num_heads
    ropes = _ropes(hf, head_dim, max_len)
    # The window counts both sides; a token sees those at a distance of up to half of it.
    windows = {FULL: None, SLIDING: hf.int("local_attention", 128) // 2 + 1}
    types = _layer_types(hf, num_layers)
    pooling = hf.raw("classifier_pooling", "cls")
    if pooling not in _POOLING:
        raise hf.error("classifier_pooling", pooling, f"known are {', '.join(_POOLING)}")
    norm_eps, norm_bias = hf.float("norm_eps", 1e-5), hf.bool("norm_bias", False)
    attention_bias, mlp_bias = hf.bool("attention_bias", False), hf.bool("mlp_bias", False)
    # Of the pretraining head, of dropout, and of how a result is computed.
    hf.ignore("decoder_bias", "sparse_prediction", "sparse_pred_ignore_index", "initializer_cutoff_factor")
    hf.ignore("embedding_dropout", "mlp_dropout")
    hf.ignore("deterministic_flash_attn", "reference_compile", "repad_logits_with_grad")
    # BERT's, which first releases wrote beside their own; nothing ever read them.
    hf.ignore("layer_norm_eps", "position_embedding_type")
    return RotaryEncoderConfig(
        vocab_size=hf.int("vocab_size", 50368),
        embed_dim=embed_dim,
        mlp_dim=hf.int("intermediate_size", 1152),
        num_layers=num_layers,
        num_heads=num_heads,
        head_dim=head_dim,
        max_len=min(ropes[kind].longest(max_len) for kind in set(types)),
        type_vocab_size=0,
        num_labels=hf.num_labels,
        pad_token_id=hf.optional_int("pad_token_id", 50283),
        activation=hf.activation("hidden_activation", "gelu"),
        norm_eps=norm_eps,
        head=HeadConfig(
            hf.activation("classifier_activation", "gelu"),
            dense_bias=hf.bool("classifier_bias", False),
            norm_eps=norm_eps,
            norm_bias=norm_bias,
        ),
        kinds=tuple(LayerKind(ropes[kind], windows[kind], normed=layer > 0) for layer, kind in enumerate(types)),
        pre_norm=True,
        qkv_bias=attention_bias,
        out_bias=attention_bias,
        up_bias=mlp_bias,
        down_bias=mlp_bias,
        norm_bias=norm_bias,
        pooling=_POOLING[pooling],
    )


def weights(cfg: RotaryEncoderConfig) -> RuleTable:
    """Tensor names of ModernBertForSequenceClassification."""
    layer = in_layers(
        "model.layers.{layer}.",
        {
            "attn_norm": "attn_norm",
            **fused_qkv("attn.Wqkv", cfg),
            "attn.o": "attn.Wo",
            "mlp_norm": "mlp_norm",
            **split("mlp.Wi", ("mlp.gate", "mlp.up"), cfg.mlp_dim),
            "mlp.down": "mlp.Wo",
        },
    )
    others = {
        "embed.tokens": "model.embeddings.tok_embeddings",
        "embed.norm": "model.embeddings.norm",
        "final_norm": "model.final_norm",
        "head.dense": "head.dense",
        "head.norm": "head.norm",
        "head.score": "classifier",
    }
    unused = tuple(layer for layer, kind in enumerate(cfg.kinds) if not kind.normed)
    return RuleTable(
        rules=tuple(rules_of({**others, **layer}, absent={"layers.{layer}.attn_norm": unused})),
        ignore=("decoder.*", "*.inv_freq"),
        renames=((r"^(embeddings|layers|final_norm)\.", r"model.\1."),),
    )


SEQUENCES = Architecture(
    names=("ModernBertForSequenceClassification",),
    summary="ModernBERT; classifiers and rerankers",
    config=config,
    build=RotaryEncoderClassifier,
    weights=weights,
    pooling=lambda cfg: cfg.pooling,
    example="Alibaba-NLP/gte-reranker-modernbert-base",
)

TOKENS = Architecture(
    names=("ModernBertForTokenClassification",),
    summary="ModernBERT; token classifiers",
    config=config,
    build=RotaryEncoderClassifier,
    weights=weights,
    pooling="ALL",
    example="answerdotai/ModernBERT-base",
)

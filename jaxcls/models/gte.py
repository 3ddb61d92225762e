"""The GTE encoders of Alibaba-NLP: published with code of their own (model type "new"), in transformers as "gte".

CLS token -> pooler (dense, tanh) -> classifier; the head for tokens has no pooler. Tensor names are the published ones,
which transformers saves too, below "new." or "gte.".
"""

from typing import Any

from jaxcls.config.hf import HfView
from jaxcls.config.rope import rope_config
from jaxcls.layers.head import LINEAR, POOLER, HeadConfig
from jaxcls.layers.rope import RopeConfig
from jaxcls.models.architecture import Architecture
from jaxcls.models.rotary_encoder import RotaryEncoderClassifier
from jaxcls.models.rotary_encoder_config import RotaryDefaults, RotaryEncoderConfig, shared_keys, uniform
from jaxcls.models.rotary_encoder_weights import bert_like_weights, fused_qkv, split
from weights.rules import RuleTable

_GTE = RotaryDefaults(vocab_size=250048, max_position_embeddings=8192, pad_token_id=1)
_GTE_THETA = 160000.0
_NEW = RotaryDefaults(vocab_size=30528, max_position_embeddings=2048)
_NEW_THETA = 10000.0


def _published(hf: HfView) -> bool:
    """Whether the config is that of the published code, which has other defaults and its own NTK scaling."""
    return hf.raw("model_type", None) == "new"


def _rope(hf: HfView, shared: dict[str, Any]) -> RopeConfig:
    dims = {"head_dim": shared["head_dim"], "max_len": shared["max_len"]}
    if not _published(hf):
        return rope_config(hf, **dims, default_theta=_GTE_THETA)
    scaling = hf.raw("rope_scaling", None)
    if scaling is None:
        return rope_config(hf, **dims, default_theta=_NEW_THETA)
    unknown = set(scaling) - {"type", "factor", "mixed_b"}
    if scaling.get("type") != "ntk" or unknown:
        raise hf.error("rope_scaling", scaling, 'model type "new" has {"type": "ntk", "factor", "mixed_b"} only')
    factor, mixed_b = scaling.get("factor"), scaling.get("mixed_b")
    numbers = [factor] if mixed_b is None else [factor, mixed_b]
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in numbers):
        raise hf.error("rope_scaling", scaling, "factor and mixed_b are numbers")
    if shared["head_dim"] % 2:
        raise hf.error("num_attention_heads", shared["num_heads"], "rotary embeddings need an even head width")
    theta = hf.float("rope_theta", _NEW_THETA)
    exponent = None if mixed_b is None else float(mixed_b)
    return RopeConfig(shared["head_dim"], theta, "ntk", factor=float(factor), mixed_b=exponent)


def _config(hf: HfView, head: HeadConfig) -> RotaryEncoderConfig:
    shared = shared_keys(hf, _NEW if _published(hf) else _GTE)
    if _published(hf):
        hf.expect("position_embedding_type", "rope")
        hf.expect("layer_norm_type", "layer_norm")
        hf.expect("pack_qkv", True)
        hf.expect("logn_attention_scale", False)
        # It only says how logn_attention_scale is done; the others choose a kernel.
        hf.ignore("logn_attention_clip1", "unpad_inputs", "use_memory_efficient_attention")
    return uniform(shared, _rope(hf, shared), head=head, up_bias=False)


def weights(cfg: RotaryEncoderConfig) -> RuleTable:
    """Tensor names of NewForSequenceClassification."""
    return bert_like_weights(
        "new",
        norm="embeddings.LayerNorm",
        layer="encoder.layer.{layer}.",
        modules={
            **fused_qkv("attention.qkv_proj", cfg),
            "attn.o": "attention.o_proj",
            "attn_norm": "attn_ln",
            **split("mlp.up_gate_proj", ("mlp.up", "mlp.gate"), cfg.mlp_dim),
            "mlp.down": "mlp.down_proj",
            "mlp_norm": "mlp_ln",
        },
        head={"head.dense": "new.pooler.dense", "head.score": "classifier"},
        renames=((r"^gte\.", "new."), (r"^(embeddings|encoder|pooler)\.", r"new.\1.")),
    )


SEQUENCES = Architecture(
    names=("GteForSequenceClassification", "GteNewForSequenceClassification", "NewForSequenceClassification"),
    summary="GTE v1.5 and mGTE; multilingual rerankers",
    config=lambda hf: _config(hf, POOLER),
    build=RotaryEncoderClassifier,
    weights=weights,
    pooling="CLS",
    example="Alibaba-NLP/gte-multilingual-reranker-base",
)

TOKENS = Architecture(
    names=("GteForTokenClassification", "NewForTokenClassification"),
    summary="GTE v1.5 and mGTE; token classifiers",
    config=lambda hf: _config(hf, LINEAR),
    build=RotaryEncoderClassifier,
    weights=weights,
    pooling="ALL",
    example="Alibaba-NLP/gte-multilingual-base",
)

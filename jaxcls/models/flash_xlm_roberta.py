"""XLM-RoBERTa in the layout of Jina's flash attention code, and Jina's rotary model in transformers.

The published code (config class XLMRobertaFlashConfig) calls itself XLMRobertaForSequenceClassification: the same
network as transformers' under other tensor names, or, with rotary positions, that of JinaEmbeddingsV3.
"""

from jaxcls.config.hf import HfView
from jaxcls.config.rope import rope_config
from jaxcls.layers.head import DENSE, LINEAR, HeadConfig
from jaxcls.layers.rope import RopeConfig
from jaxcls.models.architecture import Architecture
from jaxcls.models.encoder_config import EncoderConfig
from jaxcls.models.rotary_encoder import RotaryEncoderClassifier
from jaxcls.models.rotary_encoder_config import RotaryDefaults, RotaryEncoderConfig, shared_keys, uniform
from jaxcls.models.rotary_encoder_weights import bert_like_weights, fused_qkv
from weights.rules import RuleTable

_JINA = RotaryDefaults(
    vocab_size=250002,
    hidden_size=1024,
    intermediate_size=4096,
    num_hidden_layers=24,
    num_attention_heads=16,
    max_position_embeddings=8194,
    layer_norm_eps=1e-5,
    pad_token_id=1,
)
_JINA_THETA = 20000.0
_FLASH_THETA = 10000.0


def is_flash(hf: HfView) -> bool:
    """Whether config.json was written by XLMRobertaFlashConfig."""
    written = hf.raw("use_flash_attn", None) is not None
    rotary = hf.raw("position_embedding_type", "absolute") == "rotary"
    return written or rotary or "XLMRobertaFlashConfig" in str(hf.raw("auto_map", None))


def read_flash_keys(hf: HfView) -> None:
    """The keys of XLMRobertaFlashConfig that both kinds of positions have."""
    # Adapters chosen by the task of a call, which a classifier does not name.
    hf.expect("lora_adaptations", None)
    hf.ignore("lora_alpha", "lora_dropout_p", "lora_main_params_trainable", "lora_prompts", "lora_rank")
    hf.ignore("load_trained_adapters", "task_instructions")
    # Embeddings only; and the choice of a kernel.
    hf.ignore("emb_pooler", "matryoshka_dimensions", "truncate_dim", "use_flash_attn", "use_reentrant")


def rotary_config(hf: HfView) -> RotaryEncoderConfig:
    """Reads config.json of the published code with position_embedding_type "rotary"."""
    read_flash_keys(hf)
    hf.expect("rotary_emb_interleaved", False)
    hf.expect("rotary_emb_scale_base", None)
    shared = shared_keys(hf, _JINA)
    width = hf.int("rotary_emb_dim", shared["head_dim"])
    if width != shared["head_dim"] or width % 2:
        raise hf.error("rotary_emb_dim", width, f"whole heads are rotated, {shared['head_dim']} wide, which is even")
    return uniform(shared, RopeConfig(width, hf.float("rotary_emb_base", _FLASH_THETA)), head=DENSE, gated=False)


def _jina_config(hf: HfView, head: HeadConfig) -> RotaryEncoderConfig:
    shared = shared_keys(hf, _JINA)
    rope = rope_config(hf, head_dim=shared["head_dim"], max_len=shared["max_len"], default_theta=_JINA_THETA)
    return uniform(shared, rope, head=head, gated=False)


def _weights(cfg: RotaryEncoderConfig | EncoderConfig, head: dict[str, str]) -> RuleTable:
    return bert_like_weights(
        "roberta",
        norm="emb_ln",
        layer="encoder.layers.{layer}.",
        modules={
            **fused_qkv("mixer.Wqkv", cfg),
            "attn.o": "mixer.out_proj",
            "attn_norm": "norm1",
            "mlp.up": "mlp.fc1",
            "mlp.down": "mlp.fc2",
            "mlp_norm": "norm2",
        },
        head=head,
        renames=((r"^(embeddings|emb_ln|encoder)\.", r"roberta.\1."),),
    )


def flash_weights(cfg: RotaryEncoderConfig | EncoderConfig) -> RuleTable:
    """Tensor names of the published classifiers; both kinds of positions."""
    if cfg.head == LINEAR:
        return _weights(cfg, {"head.score": "classifier"})
    return _weights(cfg, {"head.dense": "classifier.dense", "head.score": "classifier.out_proj"})


SEQUENCES = Architecture(
    names=("JinaEmbeddingsV3ForSequenceClassification",),
    summary="Jina's rotary XLM-RoBERTa; classifiers",
    config=lambda hf: _jina_config(hf, DENSE),
    build=RotaryEncoderClassifier,
    weights=flash_weights,
    pooling="CLS",
    example="jinaai/jina-embeddings-v3-hf",
)

TOKENS = Architecture(
    names=("JinaEmbeddingsV3ForTokenClassification",),
    summary="Jina's rotary XLM-RoBERTa; token classifiers",
    config=lambda hf: _jina_config(hf, LINEAR),
    build=RotaryEncoderClassifier,
    weights=flash_weights,
    pooling="ALL",
    example="jinaai/jina-embeddings-v3-hf",
)

"""NomicBERT, in transformers' configuration or that of the published code (GPT-2's keys: n_embd, n_layer ...).

CLS token -> pooler (dense, tanh) -> classifier; the head for tokens has no pooler. Tensor names are the published ones,
which transformers saves too, below "bert." or "nomic_bert.".
"""

from jaxcls.config.hf import HfView
from jaxcls.config.rope import rope_config
from jaxcls.layers.head import LINEAR, POOLER, HeadConfig
from jaxcls.layers.rope import RopeConfig
from jaxcls.models.architecture import Architecture
from jaxcls.models.rotary_encoder import RotaryEncoderClassifier
from jaxcls.models.rotary_encoder_config import (
    LayerKind,
    RotaryDefaults,
    RotaryEncoderConfig,
    shared_keys,
    uniform,
)
from jaxcls.models.rotary_encoder_weights import bert_like_weights, fused_qkv
from weights.rules import RuleTable

_DEFAULTS = RotaryDefaults(
    vocab_size=30528, max_position_embeddings=2048, type_vocab_size=2, hidden_act="silu", pad_token_id=0
)
_THETA = 1000.0
_GATES = {"swiglu": "silu", "geglu": "gelu"}


def _config(hf: HfView, head: HeadConfig) -> RotaryEncoderConfig:
    if hf.raw("n_embd", None) is not None:
        return _published_config(hf, head)
    shared = shared_keys(hf, _DEFAULTS)
    shared["head_dim"] = hf.int("head_dim", shared["head_dim"])
    rope = rope_config(hf, head_dim=shared["head_dim"], max_len=shared["max_len"], default_theta=_THETA)
    return uniform(shared, rope, head=head, qkv_bias=False, out_bias=False, up_bias=False, down_bias=False)


def _published_config(hf: HfView, head: HeadConfig) -> RotaryEncoderConfig:
    """Reads the published code's keys; what no published text model uses is refused."""
    for key in ("qkv_proj_bias", "mlp_fc1_bias", "mlp_fc2_bias", "use_rms_norm", "prenorm", "parallel_block", "causal"):
        hf.expect(key, False)
    hf.expect("rotary_emb_fraction", 1.0)
    hf.expect("rotary_emb_interleaved", False)
    hf.expect("rotary_emb_scale_base", None)
    hf.expect("scale_attn_weights", True)
    hf.expect("scale_attn_by_inverse_layer_idx", False)
    hf.expect("moe_every_n_layers", 0)
    # Dropout; how a result is computed; heads that are not these; how vocab_size was rounded.
    hf.ignore("attn_pdrop")
    hf.ignore(
        "dense_seq_output", "fused_bias_fc", "fused_dropout_add_ln", "last_layer_subset", "reorder_and_upcast_attn"
    )
    hf.ignore("use_flash_attn", "use_xentropy")
    hf.ignore("summary_activation", "summary_proj_to_labels", "summary_type", "summary_use_proj")
    hf.ignore("pad_vocab_size_multiple", "parallel_block_tied_norm")
    gate = hf.raw("activation_function", "swiglu")
    if gate not in _GATES:
        raise hf.error("activation_function", gate, f"known are {', '.join(_GATES)}")
    embed_dim, num_heads = hf.int("n_embd", 768), hf.int("n_head", 12)
    if embed_dim % num_heads or embed_dim // num_heads % 2:
        raise hf.error("n_head", num_heads, f"it does not divide n_embd = {embed_dim} into heads of even width")
    positions, trained = hf.int("n_positions", 8192), hf.int("max_trained_positions", 2048)
    factor = hf.raw("rotary_scaling_factor", None)
    rope = RopeConfig(embed_dim // num_heads, hf.float("rotary_emb_base", _THETA))
    if factor is not None:
        # Dynamic scaling from the trained length on; without it there is nothing beyond.
        factor = hf.float("rotary_scaling_factor", 1.0)
        rope = RopeConfig(rope.head_dim, rope.theta, "dynamic", factor=factor, original_max_len=trained)
    return RotaryEncoderConfig(
        vocab_size=hf.int("vocab_size", _DEFAULTS.vocab_size),
        embed_dim=embed_dim,
        mlp_dim=hf.int("n_inner", 4 * embed_dim),
        num_layers=hf.int("n_layer", 12),
        num_heads=num_heads,
        head_dim=rope.head_dim,
        max_len=min(positions, trained) if factor is None else positions,
        type_vocab_size=hf.int("type_vocab_size", 2),
        num_labels=hf.num_labels,
        pad_token_id=hf.optional_int("pad_token_id", 0),
        activation=_GATES[gate],
        norm_eps=hf.float("layer_norm_epsilon", 1e-12),
        head=head,
        kinds=(LayerKind(rope),) * hf.int("n_layer", 12),
        qkv_bias=False,
        out_bias=False,
        up_bias=False,
        down_bias=False,
    )


def weights(cfg: RotaryEncoderConfig) -> RuleTable:
    """Tensor names of NomicBertForSequenceClassification."""
    return bert_like_weights(
        "nomic_bert",
        norm="emb_ln",
        layer="encoder.layers.{layer}.",
        modules={
            **fused_qkv("attn.Wqkv", cfg),
            "attn.o": "attn.out_proj",
            "attn_norm": "norm1",
            "mlp.up": "mlp.fc11",
            "mlp.gate": "mlp.fc12",
            "mlp.down": "mlp.fc2",
            "mlp_norm": "norm2",
        },
        head={"head.dense": "nomic_bert.pooler.dense", "head.score": "classifier"},
        renames=((r"^bert\.", "nomic_bert."), (r"^(embeddings|emb_ln|encoder|pooler)\.", r"nomic_bert.\1.")),
    )


SEQUENCES = Architecture(
    names=("NomicBertForSequenceClassification",),
    summary="NomicBERT; classifiers",
    config=lambda hf: _config(hf, POOLER),
    build=RotaryEncoderClassifier,
    weights=weights,
    pooling="CLS",
    example="nomic-ai/nomic-embed-text-v1.5",
)

TOKENS = Architecture(
    names=("NomicBertForTokenClassification",),
    summary="NomicBERT; token classifiers",
    config=lambda hf: _config(hf, LINEAR),
    build=RotaryEncoderClassifier,
    weights=weights,
    pooling="ALL",
    example="nomic-ai/nomic-embed-text-v1.5",
)

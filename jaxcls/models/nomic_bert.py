"""NomicBERT, in transformers' configuration, that of the published code (GPT-2's keys: n_embd, n_layer ...), or both.

CLS token -> pooler (dense, tanh) -> classifier; the head for tokens has no pooler. Tensor names are the published ones,
which transformers saves too, below "bert." or "nomic_bert.".
"""

import dataclasses
from typing import Any

from jaxcls.config.hf import HfView
from jaxcls.config.rope import rope_config
from jaxcls.layers.head import LINEAR, POOLER, HeadConfig
from jaxcls.layers.rope import RopeConfig
from jaxcls.models.architecture import Architecture
from jaxcls.models.rotary_encoder import RotaryEncoderClassifier
from jaxcls.models.rotary_encoder_config import (
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
_OTHER_NAMES = {
    "n_embd": "hidden_size",
    "n_head": "num_attention_heads",
    "n_inner": "intermediate_size",
    "n_layer": "num_hidden_layers",
    "layer_norm_epsilon": "layer_norm_eps",
    "max_trained_positions": "max_position_embeddings",
    "rotary_emb_base": "rope_theta",
}


def _config(hf: HfView, head: HeadConfig) -> RotaryEncoderConfig:
    published = hf.raw("n_embd", None)
    hf.rename(_OTHER_NAMES)
    defaults = _DEFAULTS if published is None else dataclasses.replace(_DEFAULTS, intermediate_size=4 * published)
    shared = shared_keys(hf, defaults)
    shared["head_dim"] = hf.int("head_dim", shared["head_dim"])
    rope = rope_config(hf, head_dim=shared["head_dim"], max_len=shared["max_len"], default_theta=_THETA)
    shared["max_len"] = rope.longest(shared["max_len"])
    if published is not None:
        rope = _read_published(hf, shared, rope)
    flags = dict.fromkeys(("qkv_bias", "out_bias", "up_bias", "down_bias"), False)
    return uniform(shared, rope, head=head, max_len=shared["max_len"], **flags)


def _read_published(hf: HfView, shared: dict[str, Any], rope: RopeConfig) -> RopeConfig:
    """The published code's other keys; what no published text model uses is refused."""
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
    hf.expect("hidden_act", _GATES[gate])
    shared["activation"] = _GATES[gate]
    # Dynamic scaling from the trained length on; without it there is nothing beyond.
    positions, trained = hf.int("n_positions", 8192), shared["max_len"]
    if hf.raw("rotary_scaling_factor", None) is None:
        shared["max_len"] = min(positions, trained)
        return rope
    shared["max_len"] = positions
    factor = hf.float("rotary_scaling_factor", 1.0)
    if rope.rope_type != "default":
        raise hf.error("rotary_scaling_factor", factor, f"the rope is of type {rope.rope_type!r} already")
    return RopeConfig(rope.head_dim, rope.theta, "dynamic", factor=factor, original_max_len=trained)


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

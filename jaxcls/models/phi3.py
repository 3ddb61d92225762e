"""Phi3ForSequenceClassification and Phi3ForTokenClassification: Llama with fused matrices and partly rotated heads."""

import dataclasses
from functools import partial

from jaxcls.config.hf import HfView
from jaxcls.config.rope import rope_config
from jaxcls.layers.rope import RopeConfig
from jaxcls.models.architecture import Architecture
from jaxcls.models.decoder import DecoderClassifier
from jaxcls.models.decoder_config import DecoderConfig, DecoderDefaults, decoder_config, every_window
from jaxcls.models.decoder_weights import decoder_weights
from weights.rules import RuleTable

_DEFAULTS = DecoderDefaults(
    vocab_size=32064,
    hidden_size=3072,
    intermediate_size=8192,
    num_hidden_layers=32,
    num_attention_heads=32,
    max_position_embeddings=4096,
    pad_token_id=32000,
    norm_eps=1e-5,
)
# Both older names mean longrope; this "yarn" has its factors.
_ROPE_ALIASES = {"su": "longrope", "yarn": "longrope"}


def _rope(hf: HfView) -> RopeConfig:
    embed_dim = hf.int("hidden_size", _DEFAULTS.hidden_size)
    rope = rope_config(
        hf,
        head_dim=hf.int("head_dim", embed_dim // hf.int("num_attention_heads", _DEFAULTS.num_attention_heads)),
        max_len=hf.int("max_position_embeddings", _DEFAULTS.max_position_embeddings),
        partial=True,
        original_len=4096,
        aliases=_ROPE_ALIASES,
    )
    if rope.rope_type not in ("default", "longrope"):
        raise hf.error("rope_type", rope.rope_type, "Phi-3 is known with default and longrope only")
    return rope


def config(hf: HfView) -> DecoderConfig:
    """Reads config.json; defaults are transformers' Phi3Config. There are no biases."""
    for key in ("attention_bias", "mlp_bias"):
        hf.expect(key, False)
    # Of the head that predicts words, and of Phi-3 small, which is another architecture.
    hf.ignore("lm_head_bias", "full_attn_mod", "interpolate_factor")
    return decoder_config(
        hf,
        _DEFAULTS,
        windows=partial(every_window, default=None),
        rope=_rope(hf),
    )


def weights(cfg: DecoderConfig) -> RuleTable:
    """Tensor names of Phi-3: q, k, v in one matrix; gate and up in another."""
    q, kv = cfg.num_heads * cfg.head_dim, cfg.num_kv_heads * cfg.head_dim
    return decoder_weights(
        cfg,
        linear={"self_attn.o_proj": "attn.o", "mlp.down_proj": "mlp.down"},
        fused={
            "self_attn.qkv_proj": {
                "attn.q": f"rows:0:{q}",
                "attn.k": f"rows:{q}:{q + kv}",
                "attn.v": f"rows:{q + kv}:{q + 2 * kv}",
            },
            "mlp.gate_up_proj": {
                "mlp.gate": f"rows:0:{cfg.mlp_dim}",
                "mlp.up": f"rows:{cfg.mlp_dim}:{2 * cfg.mlp_dim}",
            },
        },
    )


ARCHITECTURE = Architecture(
    names=("Phi3ForSequenceClassification",),
    summary="Phi-3, Phi-3.5 and Phi-4, mini and medium",
    config=config,
    build=DecoderClassifier,
    weights=weights,
    pooling="LAST",
    example="fine-tunes of microsoft/Phi-4-mini-instruct",
)

TOKENS = dataclasses.replace(
    ARCHITECTURE,
    names=("Phi3ForTokenClassification",),
    summary="Phi-3, Phi-3.5 and Phi-4; a label for every token",
    pooling="ALL",
    example="fine-tunes of microsoft/Phi-3-mini-4k-instruct",
)

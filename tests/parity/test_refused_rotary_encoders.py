"""What the encoders with rotary positions do not implement is refused by name."""

import json
from pathlib import Path
from typing import Any

import pytest

from jaxcls import LLM
from jaxcls.errors import ConfigError
from tests.parity.cases import override
from tests.parity.modern_encoder_cases import EUROBERT, MODERNBERT
from tests.parity.rotary_encoder_cases import FLASH, GTE, GTE_NEW, NOMIC_OLD, ROTARY

NTK = {"type": "ntk", "factor": 8.0}


@pytest.mark.parametrize(
    ("base", "changes", "named"),
    [
        (MODERNBERT, {"classifier_pooling": "max"}, "classifier_pooling"),
        (MODERNBERT, {"layer_types": ["full_attention"]}, "layer_types"),
        (MODERNBERT, {"layer_types": ["full_attention", "chunked_attention", "full_attention"]}, "layer_types"),
        (MODERNBERT, {"global_attn_every_n_layers": 0}, "global_attn_every_n_layers"),
        (MODERNBERT, {"rope_parameters": {"rope_type": "default", "rope_theta": 5.0}}, "rope_parameters"),
        (MODERNBERT, {"rope_scaling": {"rope_type": "longrope"}}, "longrope"),
        (MODERNBERT, {"local_rope_theta": None}, "rope_theta"),
        (MODERNBERT, {"num_attention_heads": 5}, "num_attention_heads"),
        (MODERNBERT, {"hidden_size": 22}, "head_dim"),
        (GTE, {"rope_parameters": {"rope_type": "ntk", "factor": 8.0}}, "ntk"),
        (GTE_NEW, {"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_scaling"),
        (GTE_NEW, {"rope_scaling": {"type": "ntk"}}, "rope_scaling"),
        (GTE_NEW, {"rope_scaling": {**NTK, "mixed_c": 0.5}}, "rope_scaling"),
        (GTE_NEW, {"logn_attention_scale": True}, "logn_attention_scale"),
        (GTE_NEW, {"position_embedding_type": "absolute"}, "position_embedding_type"),
        (GTE_NEW, {"layer_norm_type": "rms_norm"}, "layer_norm_type"),
        (GTE_NEW, {"pack_qkv": False}, "pack_qkv"),
        (NOMIC_OLD, {"prenorm": True}, "prenorm"),
        (NOMIC_OLD, {"rotary_emb_fraction": 0.5}, "rotary_emb_fraction"),
        (NOMIC_OLD, {"moe_every_n_layers": 2}, "moe_every_n_layers"),
        (NOMIC_OLD, {"activation_function": "gelu"}, "activation_function"),
        (NOMIC_OLD, {"qkv_proj_bias": True}, "qkv_proj_bias"),
        (FLASH, {"lora_adaptations": ["classification"]}, "lora_adaptations"),
        (FLASH, {"position_embedding_type": "alibi"}, "position_embedding_type"),
        (ROTARY, {"rotary_emb_interleaved": True}, "rotary_emb_interleaved"),
        (ROTARY, {"rotary_emb_dim": 6}, "rotary_emb_dim"),
        (EUROBERT, {"classifier_pooling": "last"}, "classifier_pooling"),
        (EUROBERT, {"clf_pooling": "bos"}, "clf_pooling"),
    ],
)
def test_refused_by_name(base: dict[str, Any], changes: dict[str, Any], named: str, tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps(override(base, changes)))
    with pytest.raises(ConfigError, match=named):
        LLM(tmp_path, skip_tokenizer_init=True)

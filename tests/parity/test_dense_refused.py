"""Settings of the dense decoders that transformers does not honour, or that are not known, are refused by name."""

import json
from pathlib import Path
from typing import Any

import pytest

from jaxcls import LLM
from jaxcls.errors import ConfigError
from tests.parity.cases import DROP, override
from tests.parity.decoder_cases import LLAMA
from tests.parity.dense_decoder_cases import BASES, LLAMA_ROPES

LONGROPE = LLAMA_ROPES["longrope-v4"]["rope_scaling"]
THREE = {"id2label": {"0": "a", "1": "b", "2": "c"}}


@pytest.mark.parametrize(
    ("base", "changes", "named"),
    [
        ("llama", {"rope_scaling": {**LONGROPE, "long_factor": [1.0, 2.0]}}, r"long_factor = \[1.0, 2.0\].*5 numbers"),
        ("llama", {"rope_scaling": {**LONGROPE, "short_factor": None}}, "needs 'short_factor'"),
        ("llama", {"rope_scaling": {**LONGROPE, "type": "su"}}, "rope_type = 'su'"),
        ("mistral", {"layer_types": ["full_attention"] * 2}, "layer_types"),
        ("mistral", {"attention_bias": True}, "attention_bias"),
        ("phi3", {"attention_bias": True}, "attention_bias"),
        ("phi3", {"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_type = 'linear'.*longrope"),
        ("phi3", {"partial_rotary_factor": 0.5}, "head_dim = 10.*even"),
        ("gemma2", {"use_bidirectional_attention": True}, "use_bidirectional_attention"),
        ("gemma2", {"sliding_window": None}, "layer_types.*sliding_window"),
        ("gemma2", {"layer_types": ["full_attention"]}, "layer_types.*3 layers"),
        ("gemma3", {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping"),
        ("gemma3", {"rope_parameters": {"rope_theta": 5.0}}, "rope_parameters.*full_attention"),
        ("gemma3", {"rope_scaling": {"type": "linear", "factor": 8.0}}, "rope_scaling.*rope_type"),
        ("llama-bidirec", {"pooling": DROP}, "pooling = None.*avg, cls, last"),
        ("llama-bidirec", {"pooling": "max"}, "pooling = 'max'"),
        ("internlm2-rm", THREE, "id2label.*1 output"),
        ("qwen2-rm", THREE, "id2label.*1 output"),
        ("qwen2-prm", THREE, "id2label.*2 outputs"),
    ],
)
def test_refused_by_name(base: str, changes: dict[str, Any], named: str, tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps(override({**BASES, "llama": LLAMA}[base], changes)))
    with pytest.raises(ConfigError, match=named):
        LLM(tmp_path, skip_tokenizer_init=True)

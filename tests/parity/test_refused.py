"""Settings that change what transformers computes, and that jaxcls does not implement, are refused by name."""

import json
from pathlib import Path
from typing import Any

import pytest

from jaxcls import LLM
from jaxcls.errors import ConfigError
from tests.parity.bert_like_cases import ALBERT, DISTILBERT, MPNET
from tests.parity.cases import override
from tests.parity.deberta_cases import V1 as DEBERTA
from tests.parity.deberta_cases import V3 as DEBERTA_V3
from tests.parity.decoder_cases import GEMMA, LLAMA, QWEN2, QWEN3
from tests.parity.encoder_cases import BERT, ROBERTA
from tests.parity.gpt2_cases import GPT2
from tests.parity.jamba_cases import JAMBA
from tests.parity.moe_cases import QWEN2_MOE, QWEN3_MOE

LINEAR = {"rope_type": "linear", "factor": 2.0}


@pytest.mark.parametrize(
    ("base", "changes", "named"),
    [
        (BERT, {"is_decoder": True}, "is_decoder"),
        (BERT, {"position_embedding_type": "relative_key"}, "position_embedding_type"),
        (BERT, {"hidden_act": "laplace"}, "laplace"),
        (BERT, {"num_attention_heads": 5}, "num_attention_heads"),
        (BERT, {"pruned_heads": {"0": [1]}}, "pruned_heads"),
        (ROBERTA, {"pad_token_id": None}, "pad_token_id"),
        (ALBERT, {"num_hidden_groups": 4}, "num_hidden_groups"),
        (DISTILBERT, {"n_heads": 5}, "n_heads"),
        (DISTILBERT, {"layer_norm_eps": 1e-5}, "layer_norm_eps"),
        (MPNET, {"relative_attention_num_buckets": 16}, "relative_attention_num_buckets"),
        (LLAMA, {"is_causal": False}, "is_causal"),
        (LLAMA, {"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        (LLAMA, {"rope_scaling": {**LINEAR, "partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
        (LLAMA, {"rope_scaling": {"rope_type": "longrope", "factor": 2.0}}, "longrope"),
        (LLAMA, {"rope_scaling": {"rope_type": "linear"}}, "factor"),
        (LLAMA, {"rope_scaling": {**LINEAR, "mrope_section": [1, 2, 2]}}, "mrope_section"),
        (LLAMA, {"head_dim": 7}, "head_dim"),
        (LLAMA, {"hidden_size_per_layer": 3}, "hidden_size_per_layer"),
        (QWEN2, {"use_mrope": True}, "use_mrope"),
        (QWEN3, {"layer_types": ["full_attention", "chunked_attention"]}, "layer_types"),
        (QWEN3, {"layer_types": ["full_attention"]}, "layer_types"),
        (GEMMA, {"hidden_activation": "silu"}, "hidden_activation"),
        (DEBERTA, {"talking_head": True}, "talking_head"),
        (DEBERTA, {"pos_att_type": "c2p|p2p"}, "pos_att_type"),
        (DEBERTA, {"pooler_hidden_size": 12}, "pooler_hidden_size"),
        (DEBERTA_V3, {"position_buckets": 90}, "position_buckets"),
        (DEBERTA_V3, {"conv_kernel_size": 4}, "conv_kernel_size"),
        (DEBERTA_V3, {"norm_rel_ebd": "rms"}, "norm_rel_ebd"),
        (GPT2, {"add_cross_attention": True}, "add_cross_attention"),
        (GPT2, {"hidden_size": 35}, "hidden_size"),
        (QWEN2_MOE, {"num_experts_per_tok": 6}, "num_experts_per_tok"),
        (QWEN2_MOE, {"mlp_only_layers": [2]}, "mlp_only_layers"),
        (QWEN2_MOE, {"decoder_sparse_step": 0}, "decoder_sparse_step"),
        (QWEN2_MOE, {"use_sliding_window": True, "sliding_window": None}, "sliding_window"),
        (QWEN2_MOE, {"layer_types": ["full_attention", "sliding_attention"]}, "layer_types"),
        (QWEN3_MOE, {"num_shared_experts": 1}, "num_shared_experts"),
        (JAMBA, {"attn_layer_offset": 2}, "attn_layer_offset"),
        (JAMBA, {"num_experts_per_tok": 5}, "num_experts_per_tok"),
        (JAMBA, {"sliding_window": 16}, "sliding_window"),
        (JAMBA, {"mamba_inner_layernorms": False}, "mamba_inner_layernorms"),
        (JAMBA, {"num_attention_heads": 5}, "num_attention_heads"),
    ],
)
def test_refused_by_name(base: dict[str, Any], changes: dict[str, Any], named: str, tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps(override(base, changes)))
    with pytest.raises(ConfigError, match=named):
        LLM(tmp_path, skip_tokenizer_init=True)


@pytest.mark.parametrize("base", [{**QWEN2_MOE, "num_hidden_layers": 3, "decoder_sparse_step": 2}, JAMBA])
def test_layers_that_differ_are_not_stacked(base: dict[str, Any], tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps(base))
    with pytest.raises(ConfigError, match="layer_layout"):
        LLM(tmp_path, skip_tokenizer_init=True, layer_layout="stacked")


def test_sliding_layers_without_a_window_are_refused(tmp_path: Path):
    """Transformers has no result to compare with: it fails."""
    config = override(QWEN2, {"layer_types": ["sliding_attention"] * 2, "use_sliding_window": False})
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="layer_types"):
        LLM(tmp_path, skip_tokenizer_init=True)

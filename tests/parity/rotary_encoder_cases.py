"""Parity cases of encoders with rotary positions: ModernBert, Gte, NomicBert, Jina's XLMRoberta, EuroBert."""

from collections.abc import Iterator, Mapping
from typing import Any

from tests.parity.cases import DROP, Case, make_prompts, override
from tests.parity.encoder_cases import LABELS

SHARED: dict[str, Any] = {
    "attention_probs_dropout_prob": 0.1,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 36,
    "initializer_range": 0.02,
    "intermediate_size": 44,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 40,
    "num_attention_heads": 3,
    "num_hidden_layers": 2,
    "pad_token_id": 1,
    "transformers_version": "4.40.0",
    "type_vocab_size": 1,
    "vocab_size": 97,
}
MODERNBERT: dict[str, Any] = {
    "architectures": ["ModernBertForSequenceClassification"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "classifier_activation": "gelu",
    "classifier_bias": False,
    "classifier_dropout": 0.0,
    "classifier_pooling": "cls",
    "decoder_bias": True,
    "deterministic_flash_attn": False,
    "embedding_dropout": 0.0,
    "global_attn_every_n_layers": 2,
    "global_rope_theta": 160000.0,
    "hidden_activation": "gelu",
    "hidden_size": 24,
    "initializer_cutoff_factor": 2.0,
    "intermediate_size": 28,
    "layer_norm_eps": 1e-05,
    "local_attention": 6,
    "local_rope_theta": 10000.0,
    "max_position_embeddings": 64,
    "mlp_bias": False,
    "mlp_dropout": 0.0,
    "model_type": "modernbert",
    "norm_bias": False,
    "norm_eps": 1e-05,
    "num_attention_heads": 2,
    "num_hidden_layers": 3,
    "pad_token_id": 4,
    "position_embedding_type": "absolute",
    "reference_compile": True,
    "sparse_pred_ignore_index": -100,
    "sparse_prediction": False,
    "transformers_version": "4.48.0",
    "vocab_size": 97,
}
GTE: dict[str, Any] = override(
    SHARED,
    {
        "architectures": ["GteForSequenceClassification"],
        "classifier_dropout": None,
        "model_type": "gte",
        "rope_parameters": {"rope_theta": 20000.0, "rope_type": "default"},
        "transformers_version": "5.20.0",
    },
)
GTE_NEW: dict[str, Any] = override(
    SHARED,
    {
        "architectures": ["NewForSequenceClassification"],
        "auto_map": {"AutoConfig": "configuration.NewConfig"},
        "classifier_dropout": 0.0,
        "layer_norm_type": "layer_norm",
        "logn_attention_clip1": False,
        "logn_attention_scale": False,
        "model_type": "new",
        "pack_qkv": True,
        "position_embedding_type": "rope",
        "rope_scaling": {"factor": 8.0, "type": "ntk"},
        "rope_theta": 20000,
        "unpad_inputs": False,
        "use_memory_efficient_attention": False,
    },
)
NOMIC: dict[str, Any] = override(
    SHARED,
    {
        "architectures": ["NomicBertForSequenceClassification"],
        "head_dim": 12,
        "hidden_act": "silu",
        "model_type": "nomic_bert",
        "pad_token_id": 0,
        "rope_parameters": {"rope_theta": 1000.0, "rope_type": "default"},
        "transformers_version": "5.20.0",
        "type_vocab_size": 2,
    },
)
NOMIC_OLD: dict[str, Any] = {
    "activation_function": "swiglu",
    "architectures": ["NomicBertForSequenceClassification"],
    "attn_pdrop": 0.0,
    "causal": False,
    "dense_seq_output": True,
    "embd_pdrop": 0.0,
    "fused_bias_fc": True,
    "fused_dropout_add_ln": True,
    "layer_norm_epsilon": 1e-12,
    "max_trained_positions": 40,
    "mlp_fc1_bias": False,
    "mlp_fc2_bias": False,
    "model_type": "nomic_bert",
    "n_embd": 36,
    "n_head": 3,
    "n_inner": 44,
    "n_layer": 2,
    "n_positions": 160,
    "pad_token_id": 0,
    "pad_vocab_size_multiple": 64,
    "parallel_block": False,
    "parallel_block_tied_norm": False,
    "prenorm": False,
    "qkv_proj_bias": False,
    "reorder_and_upcast_attn": False,
    "resid_pdrop": 0.0,
    "rotary_emb_base": 1000,
    "rotary_emb_fraction": 1.0,
    "rotary_emb_interleaved": False,
    "rotary_emb_scale_base": None,
    "rotary_scaling_factor": None,
    "scale_attn_by_inverse_layer_idx": False,
    "scale_attn_weights": True,
    "summary_activation": None,
    "summary_first_dropout": 0.0,
    "summary_proj_to_labels": True,
    "summary_type": "cls_index",
    "summary_use_proj": True,
    "type_vocab_size": 2,
    "use_cache": True,
    "use_flash_attn": True,
    "use_rms_norm": False,
    "use_xentropy": True,
    "vocab_size": 97,
}
FLASH: dict[str, Any] = override(
    SHARED,
    {
        "architectures": ["XLMRobertaForSequenceClassification"],
        "auto_map": {"AutoConfig": "configuration_xlm_roberta.XLMRobertaFlashConfig"},
        "bos_token_id": 0,
        "eos_token_id": 2,
        "layer_norm_eps": 1e-05,
        "model_type": "xlm-roberta",
        "position_embedding_type": "absolute",
        "use_flash_attn": True,
    },
)
ROTARY: dict[str, Any] = override(
    FLASH, {"lora_adaptations": None, "position_embedding_type": "rotary", "rotary_emb_base": 20000.0}
)
JINA: dict[str, Any] = override(
    SHARED,
    {
        "architectures": ["JinaEmbeddingsV3ForSequenceClassification"],
        "bos_token_id": 0,
        "eos_token_id": 2,
        "layer_norm_eps": 1e-05,
        "model_type": "jina_embeddings_v3",
        "rope_parameters": {"rope_theta": 20000.0, "rope_type": "default"},
        "transformers_version": "5.20.0",
    },
)
EUROBERT: dict[str, Any] = {
    "architectures": ["EuroBertForSequenceClassification"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "classifier_pooling": "late",
    "head_dim": 12,
    "hidden_act": "silu",
    "hidden_dropout": 0.0,
    "hidden_size": 36,
    "intermediate_size": 44,
    "mask_token_id": 3,
    "max_position_embeddings": 64,
    "mlp_bias": False,
    "model_type": "eurobert",
    "num_attention_heads": 3,
    "num_hidden_layers": 2,
    "num_key_value_heads": 3,
    "pad_token_id": 2,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "rope_theta": 250000,
    "vocab_size": 97,
}

# What every member reads with the same code.
COMMON: dict[str, dict[str, Any]] = {
    "act-relu": {"hidden_act": "relu"},
    "eps-large": {"layer_norm_eps": 0.05},
    "head-6": {"hidden_size": 24, "num_attention_heads": 4},
    "labels-1": LABELS["labels-1"],
}
LINEAR: dict[str, Any] = {"rope_type": "linear", "factor": 2.5}


def _v5(**by_type: dict[str, Any]) -> dict[str, Any]:
    """ModernBERT's ropes and layers in the spelling of transformers 5."""
    types = ["sliding_attention", "full_attention", "sliding_attention"]
    dropped = dict.fromkeys(("global_attn_every_n_layers", "global_rope_theta", "local_rope_theta"), DROP)
    return {"layer_types": types, "rope_parameters": by_type, **dropped}


VARIANTS: dict[str, tuple[dict[str, Any], dict[str, dict[str, Any]]]] = {
    "modernbert": (
        MODERNBERT,
        {
            "mean": {"classifier_pooling": "mean"},
            "attention-bias": {"attention_bias": True},
            "mlp-bias": {"mlp_bias": True},
            "norm-bias": {"norm_bias": True},
            "classifier-bias": {"classifier_bias": True},
            "classifier-act-silu": {"classifier_activation": "silu"},
            "act-relu": {"hidden_activation": "relu"},
            "eps-large": {"norm_eps": 0.05},
            "head-6": {"num_attention_heads": 4},
            "labels-1": LABELS["labels-1"],
            "window-of-1": {"local_attention": 1},
            "window-odd": {"local_attention": 9},
            "layers-every-3": {"global_attn_every_n_layers": DROP, "num_hidden_layers": 5},
            "layers-all-full": {"global_attn_every_n_layers": 1},
            "thetas": {"global_rope_theta": 500.0, "local_rope_theta": 50.0},
            "thetas-none-given": {"global_rope_theta": DROP, "local_rope_theta": DROP},
            "rope-linear-v4": {"rope_scaling": LINEAR},
            "layers-v5": _v5(
                sliding_attention={"rope_type": "default", "rope_theta": 700.0},
                full_attention={**LINEAR, "rope_theta": 30.0},
            ),
        },
    ),
    "gte": (
        GTE,
        {
            **COMMON,
            "types-0": {"type_vocab_size": 0},
            "theta-none-given": {"rope_parameters": DROP},
            "theta-v4": {"rope_parameters": DROP, "rope_theta": 500},
            "rope-linear": {"rope_parameters": {**LINEAR, "rope_theta": 500.0}},
        },
    ),
    "gte-new": (
        GTE_NEW,
        {
            "types-0": {"type_vocab_size": 0},
            "vllm-base": {"architectures": ["GteNewForSequenceClassification"]},
            "rope-mixed": {"rope_scaling": {"factor": 8.0, "type": "ntk", "mixed_b": 0.7}},
            "rope-unscaled": {"rope_scaling": None},
            "rope-factor-1": {"rope_scaling": {"factor": 1.0, "type": "ntk"}},
        },
    ),
    "nomic": (
        NOMIC,
        {
            **COMMON,
            "head-6": {"head_dim": 6},
            "types-1": {"type_vocab_size": 1},
            "theta-none-given": {"rope_parameters": DROP},
            "rope-linear": {"rope_parameters": {**LINEAR, "rope_theta": 500.0}},
        },
    ),
    "nomic-published": (
        NOMIC_OLD,
        {
            "geglu": {"activation_function": "geglu"},
            "theta": {"rotary_emb_base": 50},
            "eps-large": {"layer_norm_epsilon": 0.05},
            "rope-dynamic": {"max_trained_positions": 12, "rotary_scaling_factor": 2.0},
        },
    ),
    "xlm-roberta-flash": (FLASH, {"pad-5": {"pad_token_id": 5}, "labels-1": LABELS["labels-1"]}),
    "xlm-roberta-rotary": (ROTARY, {"theta": {"rotary_emb_base": 50.0}, "labels-1": LABELS["labels-1"]}),
    "jina-v3": (
        JINA,
        {
            **COMMON,
            "theta-none-given": {"rope_parameters": DROP},
            "rope-linear": {"rope_parameters": {**LINEAR, "rope_theta": 500.0}},
        },
    ),
    "eurobert": (
        EUROBERT,
        {
            "bos": {"classifier_pooling": "bos"},
            "mean": {"classifier_pooling": "mean"},
            "pooling-none-given": {"classifier_pooling": DROP},
            "pooling-published": {"classifier_pooling": DROP, "clf_pooling": "bos"},
            "gqa": {"num_attention_heads": 4, "num_key_value_heads": 2},
            "all-biases": {"attention_bias": True, "mlp_bias": True},
            "head-6": {"head_dim": 6},
            "act-gelu": {"hidden_act": "gelu"},
            "eps-none-given": {"rms_norm_eps": DROP},
            "rope-linear": {"rope_scaling": {"type": "linear", "factor": 2.5}},
            "labels-1": LABELS["labels-1"],
        },
    ),
}

TOKENS: dict[str, tuple[dict[str, Any], dict[str, dict[str, Any]]]] = {
    "modernbert-tokens": (MODERNBERT, {"mean": {"classifier_pooling": "mean"}}),
    "gte-tokens": (GTE, {}),
    "gte-new-tokens": (GTE_NEW, {}),
    "nomic-tokens": (NOMIC, {}),
    "jina-v3-tokens": (JINA, {}),
    "eurobert-tokens": (EUROBERT, {"bos": {"classifier_pooling": "bos"}}),
}


def _case(name: str, base: Mapping[str, Any], changes: Mapping[str, Any], **inputs: Any) -> Case:
    config = override(base, changes)
    lengths = inputs.pop("lengths", (1, 2, 11, 33))
    return Case(name, config, make_prompts(name, config, lengths, **inputs))


def cases() -> Iterator[Case]:
    """One case per variant of the tables above, each a change of one thing from its architecture's base."""
    for prefix, (base, variants) in VARIANTS.items():
        types = base.get("type_vocab_size", 0) > 1
        yield _case(f"{prefix}-base", base, {}, pads=True, types=types)
        for variant, changes in variants.items():
            dynamic = {"lengths": (3, 11, 12, 13, 23)} if "dynamic" in variant else {}
            yield _case(f"{prefix}-{variant}", base, changes, **dynamic)
    yield _case("gte-types-2", GTE, {"type_vocab_size": 2}, types=True)
    yield _case("gte-new-types-2", GTE_NEW, {"type_vocab_size": 2}, types=True)
    for prefix, (base, variants) in TOKENS.items():
        name = base["architectures"][0].replace("Sequence", "Token")
        for variant, changes in {"base": {}, **variants}.items():
            yield _case(f"{prefix}-{variant}", base, {"architectures": [name], **changes}, lengths=(1, 2, 9))

"""Parity cases of encoders with rotary positions: Gte, NomicBert, Jina's XLMRoberta."""

from collections.abc import Iterator, Mapping
from typing import Any

from tests.parity.cases import DROP, Axis, Case, Space, independent, make_prompts, override, tasks
from tests.parity.encoder_cases import AXES, LABELS, NARROWEST

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

# What every member reads with the same code.
COMMON: dict[str, dict[str, Any]] = {
    "act-relu": {"hidden_act": "relu"},
    "eps-large": {"layer_norm_eps": 0.05},
    "head-6": {"hidden_size": 24, "num_attention_heads": 4},
    "labels-1": LABELS["labels-1"],
}
LINEAR: dict[str, Any] = {"rope_type": "linear", "factor": 2.5}


VARIANTS: dict[str, tuple[dict[str, Any], dict[str, dict[str, Any]]]] = {
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
}

TOKENS: dict[str, tuple[dict[str, Any], dict[str, dict[str, Any]]]] = {
    "gte-tokens": (GTE, {}),
    "gte-new-tokens": (GTE_NEW, {}),
    "nomic-tokens": (NOMIC, {}),
    "jina-v3-tokens": (JINA, {}),
}

EVEN_SIZES: Axis = [
    {"num_attention_heads": heads, "hidden_size": heads * width}
    for heads in (1, 2, 3)
    for width in (4, 6, 10, 16)
    if heads * width >= NARROWEST
]
_ROPES: Axis = [
    {},
    {"rope_parameters": DROP},
    {"rope_parameters": DROP, "rope_theta": 500},
    {"rope_parameters": {**LINEAR, "rope_theta": 500.0}},
]
_SHARED = (*AXES, EVEN_SIZES)
_TYPES = independent(type_vocab_size=range(4))
_ONE_TYPE = independent(type_vocab_size=range(1, 4))


SPACES = [
    Space("gte", GTE, (*_SHARED, *_TYPES, _ROPES, tasks(GTE))),
    Space(
        "gte-new",
        GTE_NEW,
        (
            *_SHARED,
            *_TYPES,
            *independent(rope_theta=(500, 20000)),
            [VARIANTS["gte-new"][1][name] for name in ("rope-mixed", "rope-unscaled", "rope-factor-1")] + [{}],
            [*tasks(GTE_NEW), VARIANTS["gte-new"][1]["vllm-base"]],
        ),
    ),
    Space("nomic", NOMIC, (*_SHARED, *_ONE_TYPE, *independent(head_dim=(4, 6, 10)), _ROPES, tasks(NOMIC))),
    Space(
        "nomic-published",
        NOMIC_OLD,
        (
            *independent(
                activation_function=("swiglu", "geglu"),
                layer_norm_epsilon=(1e-12, 1e-2),
                max_trained_positions=(12, 40),
                n_inner=range(7, 71),
                n_layer=range(1, 5),
                num_labels=range(1, 7),
                pad_token_id=range(9),
                rotary_emb_base=(50, 1000),
                rotary_scaling_factor=(None, 2.0),
                vocab_size=range(20, 121),
            ),
            *_ONE_TYPE,
            [{"n_head": size["num_attention_heads"], "n_embd": size["hidden_size"]} for size in EVEN_SIZES],
            tasks(NOMIC_OLD),
        ),
    ),
    Space("xlm-roberta-flash", FLASH, (*_SHARED, *_ONE_TYPE, tasks(FLASH))),
    Space(
        "xlm-roberta-rotary",
        ROTARY,
        (*_SHARED, *_ONE_TYPE, *independent(rotary_emb_base=(50.0, 20000.0)), tasks(ROTARY)),
    ),
    Space("jina-v3", JINA, (*_SHARED, *_ONE_TYPE, _ROPES, tasks(JINA))),
]


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

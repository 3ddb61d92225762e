"""Parity cases of the decoder family: Llama, Qwen2, Qwen3, Gemma."""

from collections.abc import Iterator, Mapping
from typing import Any

from tests.parity.cases import DROP, Axis, Case, Space, independent, make_prompts, override, tasks
from tests.parity.encoder_cases import LABELS, NARROWEST

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForSequenceClassification"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": 40,
    "initializer_range": 0.02,
    "intermediate_size": 52,
    "max_position_embeddings": 64,
    "mlp_bias": False,
    "model_type": "llama",
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "pad_token_id": 3,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-5,
    "rope_scaling": None,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.44.0",
    "use_cache": True,
    "vocab_size": 97,
}
QWEN2: dict[str, Any] = override(
    LLAMA,
    {
        "architectures": ["Qwen2ForSequenceClassification"],
        "attention_bias": DROP,
        "max_window_layers": 2,
        "mlp_bias": DROP,
        "model_type": "qwen2",
        "pretraining_tp": DROP,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0,
        "sliding_window": 8,
        "tie_word_embeddings": True,
        "use_sliding_window": False,
    },
)
QWEN3: dict[str, Any] = override(
    QWEN2,
    {
        "architectures": ["Qwen3ForSequenceClassification"],
        "attention_bias": False,
        "head_dim": 16,
        "hidden_size": 36,
        "model_type": "qwen3",
    },
)
GEMMA: dict[str, Any] = override(
    LLAMA,
    {
        "architectures": ["GemmaForSequenceClassification"],
        "head_dim": 14,
        "hidden_act": "gelu_pytorch_tanh",
        "hidden_size": 36,
        "mlp_bias": DROP,
        "model_type": "gemma",
        "num_key_value_heads": 1,
        "pad_token_id": 0,
        "pretraining_tp": DROP,
        "rms_norm_eps": 1e-6,
    },
)
BASES: dict[str, dict[str, Any]] = {"llama": LLAMA, "qwen2": QWEN2, "qwen3": QWEN3, "gemma": GEMMA}


def _v5(parameters: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """A rope in the spelling of Transformers 5: one dictionary, theta within it."""
    return {"rope_theta": DROP, "rope_scaling": DROP, "rope_parameters": dict(parameters), **changes}


YARN: dict[str, Any] = {"factor": 4.0, "original_max_position_embeddings": 64}
LLAMA3: dict[str, Any] = {
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}

ROPES: dict[str, dict[str, Any]] = {
    "rope-none-given": {"rope_theta": DROP, "rope_scaling": DROP},
    "rope-theta-500": {"rope_theta": 500.0},
    "rope-theta-int": {"rope_theta": 20000},
    "rope-default-v5": _v5({"rope_type": "default", "rope_theta": 500.0}),
    "rope-default-v4": {"rope_scaling": {"rope_type": "default"}},
    "rope-linear-v4": {"rope_scaling": {"type": "linear", "factor": 2.5}},
    "rope-linear-v5": _v5({"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}),
    "rope-dynamic-v4": {"rope_scaling": {"type": "dynamic", "factor": 2.0}, "max_position_embeddings": 16},
    "rope-dynamic-v5": _v5({"rope_type": "dynamic", "factor": 4.0, "rope_theta": 5000.0}, max_position_embeddings=12),
    "rope-llama3-v4": {"rope_scaling": {"rope_type": "llama3", **LLAMA3}},
    "rope-llama3-v5": _v5(
        {"rope_type": "llama3", **LLAMA3, "factor": 4.0, "low_freq_factor": 1.5, "rope_theta": 500.0}, head_dim=24
    ),
    "rope-yarn-v4": {"rope_scaling": {"type": "yarn", **YARN}, "max_position_embeddings": 256},
    "rope-yarn-v5": _v5({"rope_type": "yarn", **YARN, "rope_theta": 100.0}, max_position_embeddings=256),
    "rope-yarn-both-names": {"rope_scaling": {"type": "yarn", "rope_type": "yarn", **YARN}},
    "rope-yarn-attention-factor": {"rope_scaling": {"rope_type": "yarn", **YARN, "attention_factor": 0.8}},
    "rope-yarn-betas": {"rope_scaling": {"rope_type": "yarn", **YARN, "beta_fast": 4, "beta_slow": 0.5}},
    "rope-yarn-mscale": {"rope_scaling": {"rope_type": "yarn", **YARN, "mscale": 0.7, "mscale_all_dim": 1.3}},
    "rope-yarn-mscale-alone": {"rope_scaling": {"rope_type": "yarn", **YARN, "mscale": 0.7}},
    "rope-yarn-untruncated": {"rope_scaling": {"rope_type": "yarn", **YARN, "beta_fast": 3, "truncate": False}},
    "rope-yarn-no-original": {"rope_scaling": {"rope_type": "yarn", "factor": 2.0}},
    "rope-yarn-factor-1": {"rope_scaling": {"rope_type": "yarn", **YARN, "factor": 1.0}},
}
# The rope is one piece of code for all decoders: Llama has every form, the others one of each type.
ROPES_ELSEWHERE = ("rope-default-v5", "rope-linear-v4", "rope-dynamic-v4", "rope-llama3-v5", "rope-yarn-v4")

SHARED: dict[str, dict[str, Any]] = {
    "mha": {"num_key_value_heads": 4},
    "gqa": {"num_attention_heads": 6, "num_key_value_heads": 3, "hidden_size": 36},
    "head-6": {"head_dim": 6},
    "head-24": {"head_dim": 24},
    "eps-large": {"rms_norm_eps": 0.05},
    "layers-1": {"num_hidden_layers": 1},
    "mlp-odd": {"intermediate_size": 33},
    **{name: LABELS[name] for name in ("labels-1", "labels-5-multi")},
}

OWN: dict[str, dict[str, dict[str, Any]]] = {
    "llama": {
        "mqa": {"num_key_value_heads": 1},
        "tied": {"tie_word_embeddings": True},
        "kv-heads-absent": {"num_key_value_heads": DROP},
        "head-dim-null": {"head_dim": None},
        "attention-bias": {"attention_bias": True},
        "mlp-bias": {"mlp_bias": True},
        "all-biases": {"attention_bias": True, "mlp_bias": True, "num_key_value_heads": 4},
        "act-gelu": {"hidden_act": "gelu"},
        "act-relu": {"hidden_act": "relu"},
        "labels-num": LABELS["labels-num"],
        "labels-3-names": LABELS["labels-3-names"],
        "v5-config": _v5(
            {"rope_theta": 500.0, "rope_type": "default"}, dtype="bfloat16", torch_dtype=DROP, head_dim=10
        ),
        **ROPES,
    },
    "qwen2": {
        "mqa": {"num_key_value_heads": 1},
        "untied": {"tie_word_embeddings": False},
        "kv-heads-null": {"num_key_value_heads": None},
        "act-gelu": {"hidden_act": "gelu"},
        **{name: ROPES[name] for name in ROPES_ELSEWHERE},
    },
    "qwen3": {
        "mqa": {"num_key_value_heads": 1},
        "untied": {"tie_word_embeddings": False},
        "attention-bias": {"attention_bias": True},
        "act-gelu_new": {"hidden_act": "gelu_new"},
        **{name: ROPES[name] for name in ROPES_ELSEWHERE},
    },
    "gemma": {
        "tied": {"tie_word_embeddings": True},
        "attention-bias": {"attention_bias": True},
        # Early Gemma checkpoints say "gelu" and mean its tanh form.
        "act-legacy-gelu": {"hidden_act": "gelu"},
        "act-hidden_activation": {"hidden_activation": None},
        "act-silu": {"hidden_act": "silu"},
        "use-bidirectional-false": {"use_bidirectional_attention": False},
        **{name: ROPES[name] for name in ROPES_ELSEWHERE},
    },
}

_THREE = {"num_hidden_layers": 3, "use_sliding_window": True}
WINDOWS: dict[str, dict[str, Any]] = {
    "window-all-layers": {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 0},
    "window-upper-layers": {**_THREE, "sliding_window": 3, "max_window_layers": 1},
    "window-no-layer": {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 28},
    "window-of-1": {"use_sliding_window": True, "sliding_window": 1, "max_window_layers": 1},
    "window-beyond-length": {"use_sliding_window": True, "sliding_window": 64, "max_window_layers": 0},
    "window-off": {"use_sliding_window": False, "sliding_window": 2, "max_window_layers": 0},
    "window-null": {"use_sliding_window": True, "sliding_window": None, "max_window_layers": 0},
    "window-layer-types": {
        **_THREE,
        "sliding_window": 5,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    },
    "window-layer-types-full": {
        "sliding_window": None,
        "layer_types": ["full_attention", "full_attention"],
    },
}

# Every decoder with Llama's keys.
SIZES: Axis = [
    {
        "num_attention_heads": groups * kv_heads,
        "num_key_value_heads": kv_heads,
        "hidden_size": groups * kv_heads * width,
        "head_dim": head_dim,
    }
    for groups in (1, 2, 3)
    for kv_heads in (1, 2, 3)
    for width in (5, 8, 12)
    for head_dim in (4, 6, 10, 16, 22)
    if groups * kv_heads * width >= NARROWEST
]
AXES = independent(
    hidden_act=("silu", "gelu_pytorch_tanh", "relu", "gelu_new"),
    intermediate_size=range(7, 71),
    num_hidden_layers=range(1, 5),
    pad_token_id=(None, 0, 2, 5),
    rms_norm_eps=(1e-6, 1e-5, 1e-2),
    tie_word_embeddings=(True, False),
    vocab_size=range(20, 121),
)
COUNTS = independent(num_labels=range(1, 7))
BIASES = independent(attention_bias=(True, False))
WINDOW_AXES = (
    *independent(use_sliding_window=(True, True, False), sliding_window=range(1, 13), max_window_layers=range(5)),
    [{}, {}, {}, WINDOWS["window-layer-types"], WINDOWS["window-layer-types-full"] | {"num_hidden_layers": 2}],
)
ROPE_AXIS: Axis = list(ROPES.values())
_SHARED = (*AXES, *COUNTS, ROPE_AXIS, SIZES)
SPACES = [
    Space("llama", LLAMA, (*_SHARED, *BIASES, *independent(mlp_bias=(True, False)), tasks(LLAMA))),
    Space(
        "qwen2",
        QWEN2,
        (*_SHARED, *WINDOW_AXES, *independent(token_classification_bias=(DROP, False)), tasks(QWEN2)),
    ),
    Space("qwen3", QWEN3, (*_SHARED, *BIASES, *WINDOW_AXES, tasks(QWEN3))),
    Space(
        "gemma",
        GEMMA,
        (*_SHARED, *BIASES, *independent(use_bidirectional_attention=(True, False)), tasks(GEMMA)),
        attention="sdpa",
    ),
]


def _case(prefix: str, variant: str, changes: Mapping[str, Any], *, attention: str = "eager", **inputs: Any) -> Case:
    name = f"{prefix}-{variant}"
    config = override(BASES[prefix], changes)
    # A dynamic rope changes with the length of its own sequence once that exceeds what the model was trained for.
    most = config["max_position_embeddings"]
    dynamic = (1, most - 1, most, most + 1, 2 * most - 5, 2 * most)
    plain = (1, 2, 13, min(most, 64))
    lengths = inputs.pop("lengths", dynamic if "dynamic" in variant else plain)
    return Case(name, config, make_prompts(name, config, lengths, **inputs), attention)


def cases() -> Iterator[Case]:
    """One case per variant of the tables above, each a change of one thing from its architecture's base."""
    for prefix in BASES:
        yield _case(prefix, "base", {}, pads=True)
        yield _case(prefix, "no-pad-id", {"pad_token_id": None})
        # The end of text doubles as padding in many published classifiers.
        yield _case(prefix, "pad-is-eos", {"pad_token_id": 2}, pads=True)
        for variant, changes in {**SHARED, **OWN[prefix]}.items():
            yield _case(prefix, variant, changes)
    for prefix in ("qwen2", "qwen3"):
        for variant, changes in WINDOWS.items():
            yield _case(prefix, variant, changes, lengths=(1, 3, 4, 5, 29))
    yield _case("gemma", "use-bidirectional", {"use_bidirectional_attention": True}, attention="sdpa")

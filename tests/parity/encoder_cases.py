"""Parity cases of the encoder family: Bert, Roberta, XLMRoberta."""

from collections.abc import Iterator, Mapping
from typing import Any

from tests.parity.cases import DROP, Axis, Case, Space, independent, make_prompts, override, tasks

BERT: dict[str, Any] = {
    "architectures": ["BertForSequenceClassification"],
    "attention_probs_dropout_prob": 0.1,
    "classifier_dropout": None,
    "gradient_checkpointing": False,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 48,
    "initializer_range": 0.02,
    "intermediate_size": 56,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 40,
    "model_type": "bert",
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "pad_token_id": 0,
    "position_embedding_type": "absolute",
    "torch_dtype": "float32",
    "transformers_version": "4.40.0",
    "type_vocab_size": 2,
    "use_cache": True,
    "vocab_size": 97,
}
ROBERTA: dict[str, Any] = override(
    BERT,
    {
        "architectures": ["RobertaForSequenceClassification"],
        "bos_token_id": 0,
        "eos_token_id": 2,
        "layer_norm_eps": 1e-5,
        "max_position_embeddings": 34,
        "model_type": "roberta",
        "pad_token_id": 1,
        "type_vocab_size": 1,
    },
)
XLM_ROBERTA: dict[str, Any] = override(
    ROBERTA,
    {
        "architectures": ["XLMRobertaForSequenceClassification"],
        "model_type": "xlm-roberta",
        "output_past": True,
    },
)

ACTIVATIONS = (
    "gelu_accurate",
    "gelu_fast",
    "gelu_new",
    "gelu_python",
    "gelu_python_tanh",
    "gelu_pytorch_tanh",
    "hardswish",
    "leaky_relu",
    "linear",
    "mish",
    "quick_gelu",
    "relu",
    "relu2",
    "relu6",
    "sigmoid",
    "silu",
    "swish",
    "tanh",
)

HEADS: dict[str, dict[str, Any]] = {
    "head-5": {"hidden_size": 30, "num_attention_heads": 6},
    "head-6": {"hidden_size": 24, "num_attention_heads": 4},
    "head-10": {"hidden_size": 40, "num_attention_heads": 4},
    "head-37-single": {"hidden_size": 37, "num_attention_heads": 1},
    "head-64": {"hidden_size": 64, "num_attention_heads": 1},
}

LABELS: dict[str, dict[str, Any]] = {
    "labels-1": {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}},
    "labels-3-names": {
        "id2label": {"0": "entailment", "1": "neutral", "2": "contradiction"},
        "label2id": {"entailment": 0, "neutral": 1, "contradiction": 2},
        "problem_type": "single_label_classification",
    },
    "labels-5-multi": {
        "id2label": {str(i): f"topic {i}" for i in range(5)},
        "label2id": {f"topic {i}": i for i in range(5)},
        "problem_type": "multi_label_classification",
    },
    "labels-num": {"num_labels": 4},
}

BERT_ONLY: dict[str, dict[str, Any]] = {
    "eps-1e-3": {"layer_norm_eps": 1e-3},
    "eps-large": {"layer_norm_eps": 0.05},
    "layers-1": {"num_hidden_layers": 1},
    "layers-3": {"num_hidden_layers": 3, "hidden_size": 24},
    "mlp-odd": {"intermediate_size": 33},
    "no-pad-id": {"pad_token_id": None},
    "minimal-config": {
        key: DROP
        for key in BERT
        if key not in {"architectures", "model_type", "hidden_size", "intermediate_size", "num_attention_heads"}
        and key not in {"num_hidden_layers", "vocab_size", "max_position_embeddings"}
    },
    "v5-config": {
        "add_cross_attention": False,
        "dtype": "float32",
        "gradient_checkpointing": DROP,
        "is_decoder": False,
        "position_embedding_type": DROP,
        "tie_word_embeddings": True,
        "torch_dtype": DROP,
        "transformers_version": "5.0.0",
    },
}

ROBERTA_FAMILY: dict[str, dict[str, Any]] = {
    "act-gelu_new": {"hidden_act": "gelu_new"},
    "eps-large": {"layer_norm_eps": 0.05},
    "head-6": HEADS["head-6"],
    "head-10": HEADS["head-10"],
    "labels-1": LABELS["labels-1"],
    "labels-5-multi": LABELS["labels-5-multi"],
    "layers-3": {"num_hidden_layers": 3, "hidden_size": 24},
}

# Every encoder with BERT's keys.
# Models narrower than these magnify rounding: a LayerNorm of three numbers can divide by almost nothing.
NARROWEST = 12
SIZES: Axis = [
    {"num_attention_heads": heads, "hidden_size": heads * width}
    for heads in (1, 2, 3, 5)
    for width in (3, 6, 10, 11, 24)
    if heads * width >= NARROWEST
]
AXES = independent(
    hidden_act=("gelu", *ACTIVATIONS),
    intermediate_size=range(7, 71),
    layer_norm_eps=(1e-12, 1e-5, 1e-2),
    max_position_embeddings=range(24, 61),
    num_hidden_layers=range(1, 5),
    num_labels=range(1, 7),
    pad_token_id=range(9),
    vocab_size=range(20, 121),
)
TYPES = independent(type_vocab_size=range(1, 4))
SPACES = [Space(base["model_type"], base, (*AXES, *TYPES, SIZES, tasks(base))) for base in (BERT, ROBERTA, XLM_ROBERTA)]


def _case(prefix: str, variant: str, base: Mapping[str, Any], changes: Mapping[str, Any], **inputs: Any) -> Case:
    name = f"{prefix}-{variant}"
    config = override(base, changes)
    offset = 0 if prefix == "bert" else config["pad_token_id"] + 1
    lengths = inputs.pop("lengths", (1, 2, 11, config["max_position_embeddings"] - offset))
    return Case(name, config, make_prompts(name, config, lengths, **inputs))


def cases() -> Iterator[Case]:
    """One case per variant of the tables above, each a change of one thing from its architecture's base."""
    yield _case("bert", "base", BERT, {}, pads=True, types=True)
    yield _case("bert", "types-1", BERT, {"type_vocab_size": 1}, types=True)
    yield _case("bert", "types-3", BERT, {"type_vocab_size": 3}, types=True)
    for variant, changes in {**HEADS, **LABELS, **BERT_ONLY}.items():
        yield _case("bert", variant, BERT, changes)
    for activation in ACTIVATIONS:
        yield _case("bert", f"act-{activation}", BERT, {"hidden_act": activation}, lengths=(3, 17))
    for prefix, base in (("roberta", ROBERTA), ("xlm-roberta", XLM_ROBERTA)):
        yield _case(prefix, "base", base, {}, pads=True)
        # Positions count from the padding id, whatever it is.
        yield _case(prefix, "pad-0", base, {"pad_token_id": 0}, pads=True)
        yield _case(prefix, "pad-5", base, {"pad_token_id": 5}, pads=True)
        yield _case(prefix, "types-2", base, {"type_vocab_size": 2}, types=True)
        for variant, changes in ROBERTA_FAMILY.items():
            yield _case(prefix, variant, base, changes)

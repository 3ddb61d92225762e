"""Parity cases of BERT's descendants: Ernie, Electra, Camembert, DistilBert, MPNet, Albert, and token classifiers."""

from collections.abc import Iterator, Mapping
from typing import Any

from tests.parity.cases import DROP, Case, Space, independent, make_prompts, override, tasks
from tests.parity.encoder_cases import ACTIVATIONS, AXES, BERT, HEADS, LABELS, ROBERTA, SIZES, TYPES, XLM_ROBERTA

ERNIE: dict[str, Any] = override(
    BERT,
    {
        "architectures": ["ErnieForSequenceClassification"],
        "model_type": "ernie",
        "task_type_vocab_size": 3,
        "use_task_id": True,
    },
)
ELECTRA: dict[str, Any] = override(
    BERT,
    {
        "architectures": ["ElectraForSequenceClassification"],
        "embedding_size": 20,
        "model_type": "electra",
        "summary_activation": "gelu",
        "summary_last_dropout": 0.1,
        "summary_type": "first",
        "summary_use_proj": True,
    },
)
CAMEMBERT: dict[str, Any] = override(
    ROBERTA,
    {"architectures": ["CamembertForSequenceClassification"], "model_type": "camembert", "output_past": True},
)
DISTILBERT: dict[str, Any] = {
    "activation": "gelu",
    "architectures": ["DistilBertForSequenceClassification"],
    "attention_dropout": 0.1,
    "dim": 48,
    "dropout": 0.1,
    "hidden_dim": 56,
    "initializer_range": 0.02,
    "max_position_embeddings": 40,
    "model_type": "distilbert",
    "n_heads": 2,
    "n_layers": 2,
    "output_past": True,
    "pad_token_id": 0,
    "qa_dropout": 0.1,
    "seq_classif_dropout": 0.2,
    "sinusoidal_pos_embds": False,
    "tie_weights_": True,
    "vocab_size": 97,
}
MPNET: dict[str, Any] = override(
    ROBERTA,
    {
        "architectures": ["MPNetForSequenceClassification"],
        "max_position_embeddings": 200,
        "model_type": "mpnet",
        "position_embedding_type": DROP,
        "relative_attention_num_buckets": 32,
        "type_vocab_size": DROP,
    },
)
ALBERT: dict[str, Any] = override(
    BERT,
    {
        "architectures": ["AlbertForSequenceClassification"],
        "classifier_dropout": DROP,
        "classifier_dropout_prob": 0.1,
        "down_scale_factor": 1,
        "embedding_size": 20,
        "gap_size": 0,
        "hidden_act": "gelu_new",
        "inner_group_num": 1,
        "model_type": "albert",
        "net_structure_type": 0,
        "num_hidden_groups": 1,
        "num_hidden_layers": 3,
        "num_memory_blocks": 0,
    },
)

VARIANTS: dict[str, tuple[dict[str, Any], dict[str, dict[str, Any]]]] = {
    "ernie": (
        ERNIE,
        {
            "no-task-id": {"use_task_id": False},
            "task-types-5": {"task_type_vocab_size": 5},
            "types-3": {"type_vocab_size": 3},
            "act-relu": {"hidden_act": "relu"},
            "eps-large": {"layer_norm_eps": 0.05},
            "labels-1": LABELS["labels-1"],
        },
    ),
    "electra": (
        ELECTRA,
        {
            "embedding-as-wide": {"embedding_size": 48},
            "embedding-wider": {"embedding_size": 50},
            # The head's activation stays gelu.
            "act-relu": {"hidden_act": "relu"},
            "summary-last": {"summary_type": "last", "summary_use_proj": False, "summary_activation": "tanh"},
            "eps-large": {"layer_norm_eps": 0.05},
            "head-6": HEADS["head-6"],
            "labels-5-multi": LABELS["labels-5-multi"],
        },
    ),
    "camembert": (
        CAMEMBERT,
        {"pad-5": {"pad_token_id": 5}, "types-2": {"type_vocab_size": 2}, "labels-1": LABELS["labels-1"]},
    ),
    "distilbert": (
        DISTILBERT,
        {
            # The head's activation stays relu.
            "act-gelu_new": {"activation": "gelu_new"},
            "head-6": {"dim": 24, "n_heads": 4},
            "layers-3": {"n_layers": 3, "dim": 24},
            "labels-3-names": LABELS["labels-3-names"],
            "mlp-odd": {"hidden_dim": 33},
            "sinusoidal": {"sinusoidal_pos_embds": True},
        },
    ),
    "mpnet": (
        MPNET,
        {
            "act-relu": {"hidden_act": "relu"},
            "eps-large": {"layer_norm_eps": 0.05},
            "head-6": HEADS["head-6"],
            "labels-1": LABELS["labels-1"],
            "layers-3": {"num_hidden_layers": 3, "hidden_size": 24},
            # Positions are counted from 1 all the same.
            "pad-5": {"pad_token_id": 5},
        },
    ),
    "albert": (
        ALBERT,
        {
            "act-gelu": {"hidden_act": "gelu"},
            "embedding-as-wide": {"embedding_size": 48},
            "eps-large": {"layer_norm_eps": 0.05},
            "head-6": HEADS["head-6"],
            "layers-5-groups-2": {"num_hidden_groups": 2, "num_hidden_layers": 5, "hidden_size": 24},
            "layers-2-inner-2": {"inner_group_num": 2, "num_hidden_layers": 2, "hidden_size": 24},
            "layers-3-groups-3-inner-2": {
                "inner_group_num": 2,
                "num_hidden_groups": 3,
                "num_hidden_layers": 3,
                "hidden_size": 24,
            },
            "labels-5-multi": LABELS["labels-5-multi"],
            "types-1": {"type_vocab_size": 1},
        },
    ),
}

TAGS: dict[str, Any] = {
    "id2label": {"0": "O", "1": "B-PER", "2": "I-PER"},
    "label2id": {"O": 0, "B-PER": 1, "I-PER": 2},
}
TOKEN_BASES = {
    "bert": BERT,
    "roberta": ROBERTA,
    "xlm-roberta": XLM_ROBERTA,
    **{name: base for name, (base, _) in VARIANTS.items()},
}

SPACES = [
    Space(
        "ernie",
        ERNIE,
        (
            *AXES,
            *TYPES,
            SIZES,
            *independent(use_task_id=(True, False), task_type_vocab_size=range(1, 6)),
            tasks(ERNIE),
        ),
    ),
    Space(
        "electra",
        ELECTRA,
        (
            *AXES,
            *TYPES,
            [{**size, "embedding_size": width} for size in SIZES for width in (size["hidden_size"], 20)],
            tasks(ELECTRA),
        ),
    ),
    Space("camembert", CAMEMBERT, (*AXES, *TYPES, SIZES, tasks(CAMEMBERT))),
    Space(
        "distilbert",
        DISTILBERT,
        (
            *independent(
                activation=ACTIVATIONS,
                hidden_dim=range(7, 71),
                max_position_embeddings=range(24, 61),
                n_layers=range(1, 5),
                num_labels=range(1, 7),
                pad_token_id=range(9),
                sinusoidal_pos_embds=(True, False),
                vocab_size=range(20, 121),
            ),
            [{"n_heads": size["num_attention_heads"], "dim": size["hidden_size"]} for size in SIZES],
            tasks(DISTILBERT),
        ),
    ),
    Space("mpnet", MPNET, (*AXES, *independent(max_position_embeddings=(30, 60, 200)), SIZES, tasks(MPNET))),
    Space(
        "albert",
        ALBERT,
        (
            *AXES,
            *TYPES,
            *independent(embedding_size=(12, 20, 30)),
            SIZES,
            [
                {"num_hidden_layers": layers, "num_hidden_groups": groups, "inner_group_num": inner}
                for layers in range(1, 6)
                for groups in range(1, layers + 1)
                for inner in (1, 2)
            ],
            tasks(ALBERT),
        ),
    ),
]


def _case(name: str, base: Mapping[str, Any], changes: Mapping[str, Any]) -> Case:
    config = override(base, changes)
    model_type = config["model_type"]
    roberta_positions = model_type in ("roberta", "xlm-roberta", "camembert", "mpnet")
    # All of MPNet's buckets, and the last of them more than once.
    longest = 140 if name == "mpnet-base" else min(config["max_position_embeddings"], 40) - 2
    types = config.get("type_vocab_size", 1) > 1 and name.endswith(("base", "types-2", "types-3"))
    pads = roberta_positions and ("pad" in name or name.endswith("base"))
    lengths: tuple[int, ...] = (1, 2, 11, longest)
    if pads and name != "mpnet-base":
        lengths = (2, min(config["max_position_embeddings"] - config["pad_token_id"] - 1, 34))
    if "tokens" in name:
        lengths = (1, 4) if pads else (1, 7)
    return Case(name, config, make_prompts(name, config, lengths, pads=pads, types=types))


def cases() -> Iterator[Case]:
    """One case per variant of the tables above, each a change of one thing from its architecture's base."""
    for prefix, (base, variants) in VARIANTS.items():
        yield _case(f"{prefix}-base", base, {})
        for variant, changes in variants.items():
            yield _case(f"{prefix}-{variant}", base, changes)
    for prefix, base in TOKEN_BASES.items():
        name = base["architectures"][0].replace("ForSequence", "ForToken")
        of_tokens = {**TAGS, "architectures": [name]}
        yield _case(f"{prefix}-tokens-base", base, of_tokens)
    yield _case("bert-tokens-labels-num", BERT, {"architectures": ["BertForTokenClassification"], "num_labels": 4})

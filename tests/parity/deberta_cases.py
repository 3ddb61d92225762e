"""Parity cases of DeBERTa: version 1, version 2 (which version 3 shares), for sequences and for tokens."""

from collections.abc import Iterator, Mapping
from typing import Any

from tests.parity.cases import DROP, Axis, Case, Space, independent, make_prompts, override, tasks
from tests.parity.encoder_cases import AXES, LABELS, SIZES

V1: dict[str, Any] = {
    "architectures": ["DebertaForSequenceClassification"],
    "attention_probs_dropout_prob": 0.1,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 36,
    "initializer_range": 0.02,
    "intermediate_size": 44,
    "layer_norm_eps": 1e-7,
    "max_position_embeddings": 30,
    "max_relative_positions": -1,
    "model_type": "deberta",
    "num_attention_heads": 3,
    "num_hidden_layers": 2,
    "pad_token_id": 0,
    "padding_idx": 0,
    "pooler_dropout": 0,
    "pooler_hidden_act": "gelu",
    "pooler_hidden_size": 36,
    "pos_att_type": ["c2p", "p2c"],
    "position_biased_input": False,
    "relative_attention": True,
    "type_vocab_size": 0,
    "vocab_size": 83,
}
V3: dict[str, Any] = override(
    V1,
    {
        "architectures": ["DebertaV2ForSequenceClassification"],
        # Distances of 5 and more share rows.
        "max_position_embeddings": 40,
        "model_type": "deberta-v2",
        "norm_rel_ebd": "layer_norm",
        "padding_idx": DROP,
        "pos_att_type": ["p2c", "c2p"],
        "position_buckets": 8,
        "share_att_key": True,
    },
)
NO_POOLER = {"pooler_dropout": DROP, "pooler_hidden_act": DROP, "pooler_hidden_size": DROP}
TOKENS: dict[str, dict[str, Any]] = {
    "deberta": {"architectures": ["DebertaForTokenClassification"], **NO_POOLER},
    "deberta-v2": {"architectures": ["DebertaV2ForTokenClassification"], **NO_POOLER},
}

SHARED: dict[str, dict[str, Any]] = {
    "absolute": {"position_biased_input": True},
    "absolute-only": {"position_biased_input": True, "relative_attention": False},
    "c2p": {"pos_att_type": "c2p"},
    "p2c": {"pos_att_type": ["p2c"]},
}
OWN: dict[str, dict[str, dict[str, Any]]] = {
    "deberta": {
        "labels-1": LABELS["labels-1"],
        "span-5": {"max_relative_positions": 5},
        "names-with-bar": {"pos_att_type": " P2C|c2p"},
        "embedding-20": {"embedding_size": 20},
    },
    "deberta-v2": {
        "act-relu": {"hidden_act": "relu"},
        "buckets-7": {"position_buckets": 7},
        "buckets-none": {"position_buckets": -1},
        "conv-layers": {"conv_kernel_size": 3, "conv_act": "gelu", "num_hidden_layers": 3},
        "conv-5-layers-1": {"conv_kernel_size": 5, "num_hidden_layers": 1},
        "embedding-20": {"embedding_size": 20, "position_biased_input": True},
        "eps-large": {"layer_norm_eps": 0.05},
        "heads-bias": {"share_att_key": False, "num_attention_heads": 4},
        "labels-5-multi": LABELS["labels-5-multi"],
        "minimal-config": {
            key: DROP
            for key in V3
            if key not in {"architectures", "model_type", "hidden_size", "intermediate_size", "num_attention_heads"}
            and key not in {"num_hidden_layers", "vocab_size", "max_position_embeddings"}
        },
        "no-kinds": {"pos_att_type": None},
        "norm-none": {"norm_rel_ebd": "none"},
        "own-c2p": {"pos_att_type": ["c2p"], "share_att_key": False},
        "pooler-tanh": {"pooler_hidden_act": "tanh"},
        # Texts longer than the longest distance that has a row of its own.
        "span-20": {"max_relative_positions": 20},
        "own-p2c": {"pos_att_type": ["p2c"], "share_att_key": False},
    },
}
BASES = {"deberta": V1, "deberta-v2": V3}

_AXES: tuple[Axis, ...] = (
    *AXES,
    *independent(
        embedding_size=(DROP, 20, 33),
        pos_att_type=(None, "c2p", ["p2c"], ["p2c", "c2p"]),
        position_biased_input=(True, False),
        relative_attention=(True, True, False),
        type_vocab_size=range(4),
    ),
    [{**size, "pooler_hidden_size": size["hidden_size"]} for size in SIZES],
)
SPACES = [
    Space("deberta", V1, (*_AXES, *independent(max_relative_positions=(-1, 5, 20)), tasks(V1))),
    Space(
        "deberta-v2",
        V3,
        (
            *_AXES,
            *independent(
                conv_act=("tanh", "gelu"),
                conv_kernel_size=(DROP, DROP, 3, 5),
                norm_rel_ebd=("layer_norm", "none"),
                pooler_hidden_act=("gelu", "tanh", "relu"),
                share_att_key=(True, False),
            ),
            # Half of the buckets has to be less than the longest distance.
            [
                {"position_buckets": buckets, "max_relative_positions": longest}
                for longest in (-1, 5, 20)
                for buckets in (-1, 4, 7, 12)
                if buckets < longest or longest < 0
            ],
            tasks(V3),
        ),
    ),
]


def _case(prefix: str, variant: str, changes: Mapping[str, Any], lengths: tuple[int, ...], **inputs: Any) -> Case:
    name = f"{prefix}-{variant}"
    config = override(BASES[prefix], changes)
    return Case(name, config, make_prompts(name, config, lengths, **inputs))


def cases() -> Iterator[Case]:
    """One case per variant, each a change of one thing from the base of its version."""
    for prefix, base in BASES.items():
        longest = base["max_position_embeddings"]
        yield _case(prefix, "base", {}, (1, 2, 13, longest), pads=True)
        for variant, changes in {**SHARED, **OWN[prefix]}.items():
            yield _case(prefix, variant, changes, (1, 9, longest))
        yield _case(prefix, "types-3", {"type_vocab_size": 3}, (7, 12), types=True)
        yield _case(prefix, "tokens-base", TOKENS[prefix], (1, 2, 14))
        yield _case(prefix, "tokens-labels-5", {**TOKENS[prefix], **LABELS["labels-5-multi"]}, (9,))

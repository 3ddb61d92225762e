"""Parity cases of GPT-2, for sequences and for tokens."""

from collections.abc import Iterator, Mapping
from typing import Any

from tests.parity.cases import DROP, Case, Space, independent, make_prompts, override, tasks
from tests.parity.encoder_cases import ACTIVATIONS, LABELS, SIZES

GPT2: dict[str, Any] = {
    "activation_function": "gelu_new",
    "architectures": ["GPT2ForSequenceClassification"],
    "attn_pdrop": 0.1,
    "bos_token_id": 2,
    "embd_pdrop": 0.1,
    "eos_token_id": 2,
    "initializer_range": 0.02,
    "layer_norm_epsilon": 1e-5,
    "model_type": "gpt2",
    "n_ctx": 40,
    "n_embd": 36,
    "n_head": 3,
    "n_inner": None,
    "n_layer": 2,
    "n_positions": 40,
    "pad_token_id": 5,
    "reorder_and_upcast_attn": False,
    "resid_pdrop": 0.1,
    "scale_attn_by_inverse_layer_idx": False,
    "scale_attn_weights": True,
    "summary_activation": None,
    "summary_first_dropout": 0.1,
    "summary_proj_to_labels": True,
    "summary_type": "cls_index",
    "summary_use_proj": True,
    "use_cache": True,
    "vocab_size": 83,
}

VARIANTS: dict[str, dict[str, Any]] = {
    "act-relu": {"activation_function": "relu"},
    "eps-large": {"layer_norm_epsilon": 0.05},
    "labels-5-multi": LABELS["labels-5-multi"],
    "mlp-odd": {"n_inner": 33},
    # As a language model's config says; its classifier scores the last token.
    "no-pad-id": {"pad_token_id": DROP},
    "other-names": {
        "hidden_size": 24,
        "max_position_embeddings": 17,
        "n_embd": DROP,
        "n_head": DROP,
        "n_layer": DROP,
        "n_positions": DROP,
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
    },
    "pad-is-eos": {"pad_token_id": 2},
    "reorder": {"reorder_and_upcast_attn": True},
    # "layers" in the name: they are compared stacked as well.
    "scale-layers": {"n_layer": 3, "scale_attn_by_inverse_layer_idx": True},
    "unscaled": {"scale_attn_weights": False},
}

SPACES = [
    Space(
        "gpt2",
        GPT2,
        (
            *independent(
                activation_function=("gelu_new", *ACTIVATIONS),
                layer_norm_epsilon=(1e-5, 1e-2),
                n_inner=(None, *range(7, 71)),
                n_layer=range(1, 5),
                n_positions=range(24, 61),
                num_labels=range(1, 7),
                pad_token_id=(None, 0, 2, 5),
                reorder_and_upcast_attn=(True, False),
                scale_attn_by_inverse_layer_idx=(True, False),
                scale_attn_weights=(True, False),
                vocab_size=range(20, 121),
            ),
            [{"n_head": size["num_attention_heads"], "n_embd": size["hidden_size"]} for size in SIZES],
            tasks(GPT2),
        ),
    )
]


def _case(variant: str, changes: Mapping[str, Any], lengths: tuple[int, ...], **inputs: Any) -> Case:
    name = f"gpt2-{variant}"
    config = override(GPT2, changes)
    longest = config["n_positions" if "n_positions" in config else "max_position_embeddings"]
    return Case(name, config, make_prompts(name, config, (*lengths, longest), **inputs))


def cases() -> Iterator[Case]:
    """One case per variant, each a change of one thing from the base."""
    yield _case("base", {}, (1, 2, 13), pads=True)
    for variant, changes in VARIANTS.items():
        yield _case(variant, changes, (1, 7), pads=variant == "pad-is-eos")
    tokens = {"architectures": ["GPT2ForTokenClassification"], "n_positions": 17}
    yield _case("tokens-base", tokens, (1, 6), pads=True)
    yield _case("tokens-layers-1", {**tokens, **LABELS["labels-1"], "n_layer": 1}, (5,))

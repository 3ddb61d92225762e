"""HfView: every key is read, ignored by name, or an error that names it."""

import re
from typing import Any

import pytest

from jaxcls.config.hf import HfView
from jaxcls.errors import ConfigError


def test_values_are_read_and_absent_keys_get_the_default() -> None:
    view = HfView({"layers": 3, "eps": 1, "flag": True, "name": "x", "act": "relu"})
    assert (view.int("layers", 1), view.int("heads", 4)) == (3, 4)
    assert (view.float("eps", 0.5), view.float("other", 0.5)) == (1.0, 0.5)
    assert isinstance(view.float("eps", 0.5), float)
    assert (view.bool("flag", False), view.bool("no_flag", False)) == (True, False)
    assert (view.raw("name", None), view.raw("no_name", "y")) == ("x", "y")
    assert (view.activation("act", "gelu"), view.activation("no_act", "gelu")) == ("relu", "gelu")
    view.finish("X")


def test_null_is_the_default_except_where_it_is_a_value() -> None:
    view = HfView({"layers": None, "eps": None, "flag": None, "act": None, "pad": None})
    assert (view.int("layers", 1), view.float("eps", 0.5), view.bool("flag", True)) == (1, 0.5, True)
    assert view.activation("act", "gelu") == "gelu"
    assert (view.optional_int("pad", 7), view.optional_int("no_pad", 7)) == (None, 7)


@pytest.mark.parametrize(
    ("method", "value", "expected"),
    [
        ("int", "12", "int"),
        ("int", 12.0, "int"),
        ("int", True, "int"),
        ("int", [12], "int"),
        ("optional_int", "12", "int"),
        ("optional_int", False, "int"),
        ("float", "1e-5", "number"),
        ("float", True, "number"),
        ("bool", 1, "bool"),
        ("bool", "true", "bool"),
        ("activation", 3, "str"),
    ],
)
def test_a_wrong_type_is_refused_by_name(method: str, value: Any, expected: str) -> None:
    view = HfView({"some_key": value}, source="the/config.json")
    default = {"int": 1, "optional_int": 1, "float": 0.5, "bool": True, "activation": "gelu"}[method]
    message = f"the/config.json: some_key = {value!r}: expected {expected}, got {type(value).__name__}"
    with pytest.raises(ConfigError, match=re.escape(message)):
        getattr(view, method)("some_key", default)


def test_an_unknown_activation_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"hidden_act = 'softgelu'.*gelu_pytorch_tanh.*relu"):
        HfView({"hidden_act": "softgelu"}).activation("hidden_act", "gelu")


def test_expect_accepts_one_value_and_null() -> None:
    for values in ({}, {"key": None}, {"key": "absolute"}):
        HfView(values).expect("key", "absolute")
    with pytest.raises(ConfigError, match=r"key = 'relative'.*'absolute'"):
        HfView({"key": "relative"}).expect("key", "absolute")


def test_an_unread_key_is_refused_by_name_with_the_way_out() -> None:
    view = HfView({"surprise": 1, "read": 2, "waived": 3, "another": [4]})
    view.int("read", 0)
    view.ignore("waived")
    with pytest.raises(ConfigError) as info:
        view.finish("BertForSequenceClassification")
    message = str(info.value)
    assert "BertForSequenceClassification" in message
    assert "surprise = 1" in message
    assert "another = [4]" in message
    assert "hf_overrides={'another': None, 'surprise': None}" in message
    assert "read" not in message.replace("another", "")
    assert "waived" not in message


def test_an_unread_key_with_the_class_default_is_accepted() -> None:
    HfView({"model_type": "bert", "max_position_embeddings": 512, "layer_norm_eps": 1e-12}).finish("X")
    with pytest.raises(ConfigError, match="max_position_embeddings = 513") as info:
        HfView({"model_type": "bert", "max_position_embeddings": 513, "layer_norm_eps": 1e-12}).finish("X")
    assert "layer_norm_eps" not in str(info.value)


@pytest.mark.parametrize("model_type", [None, "no_such_model"])
def test_without_a_known_class_an_unread_key_is_refused(model_type: str | None) -> None:
    with pytest.raises(ConfigError, match="max_position_embeddings = 512"):
        HfView({"model_type": model_type, "max_position_embeddings": 512}).finish("X")


def test_bookkeeping_needs_no_reading() -> None:
    HfView(
        {
            "_name_or_path": "x",
            "architectures": ["X"],
            "torch_dtype": "float16",
            "hidden_dropout_prob": 0.3,
            "transformers_version": "4.1.0",
            "use_cache": False,
            "eos_token_id": [1, 2],
        }
    ).finish("X")


@pytest.mark.parametrize("method", ["gptq", "awq", "fp8", "bitsandbytes", None])
def test_a_quantised_checkpoint_is_refused(method: str | None) -> None:
    quantization = {"bits": 4} if method is None else {"bits": 4, "quant_method": method}
    with pytest.raises(ConfigError, match=f"quantised.*{method or 'unknown'}.*unquantised checkpoint"):
        HfView({"quantization_config": quantization})


@pytest.mark.parametrize("empty", [None, {}])
def test_an_empty_quantization_config_is_none(empty: Any) -> None:
    HfView({"quantization_config": empty}).finish("X")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("is_encoder_decoder", True),
        ("cross_attention_hidden_size", 64),
        ("tie_encoder_decoder", True),
        ("pruned_heads", {"0": [1]}),
    ],
)
def test_what_no_architecture_supports_is_refused(key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"{key} = "):
        HfView({key: value})


def test_pruned_heads_may_be_empty() -> None:
    HfView({"pruned_heads": {}}).finish("X")


@pytest.mark.parametrize("name", ["BertForSequenceClassification", "RobertaForSequenceClassification"])
@pytest.mark.parametrize("key", ["is_decoder", "add_cross_attention"])
def test_encoders_are_not_decoders(name: str, key: str) -> None:
    from jaxcls.registry import find_architecture

    with pytest.raises(ConfigError, match=f"{key} = True"):
        find_architecture(name).config(HfView({key: True}))

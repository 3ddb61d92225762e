"""hf_overrides: a dict that is merged, or a function of the config."""

from collections import UserDict
from typing import Any

import pytest

from jaxcls.config.labels import read_labels
from jaxcls.config.overrides import apply_overrides
from jaxcls.errors import ConfigError

BASE: dict[str, Any] = {
    "hidden_size": 8,
    "rope_scaling": {"rope_type": "yarn", "factor": 2.0},
    "id2label": {"0": "no", "1": "yes"},
    "label2id": {"no": 0, "yes": 1},
}


def labels(overrides: Any, values: dict[str, Any] = BASE) -> tuple[str, ...]:
    return read_labels(apply_overrides(values, overrides), "config.json").names


def test_nothing_changes_nothing() -> None:
    for overrides in (None, {}):
        assert apply_overrides(BASE, overrides) == BASE


def test_scalars_replace_and_new_keys_are_added() -> None:
    changed = apply_overrides(BASE, {"hidden_size": 16, "problem_type": "regression"})
    assert changed == {**BASE, "hidden_size": 16, "problem_type": "regression"}


def test_nested_dicts_are_merged() -> None:
    changed = apply_overrides(BASE, {"rope_scaling": {"factor": 4.0, "beta_fast": 16}})
    assert changed["rope_scaling"] == {"rope_type": "yarn", "factor": 4.0, "beta_fast": 16}


def test_none_drops_a_key_at_every_depth() -> None:
    assert "hidden_size" not in apply_overrides(BASE, {"hidden_size": None, "absent": None})
    assert apply_overrides(BASE, {"rope_scaling": {"factor": None}})["rope_scaling"] == {"rope_type": "yarn"}
    assert "rope_scaling" not in apply_overrides(BASE, {"rope_scaling": None})


def test_a_dict_replaces_what_is_not_one() -> None:
    assert apply_overrides(BASE, {"hidden_size": {"a": 1}})["hidden_size"] == {"a": 1}


def test_neither_the_config_nor_the_overrides_are_changed() -> None:
    overrides = {"rope_scaling": {"factor": 4.0}, "layer_types": ["full_attention"]}
    changed = apply_overrides(BASE, overrides)
    changed["layer_types"].append("x")
    changed["rope_scaling"]["rope_type"] = "linear"
    assert BASE["rope_scaling"] == {"rope_type": "yarn", "factor": 2.0}
    assert overrides == {"rope_scaling": {"factor": 4.0}, "layer_types": ["full_attention"]}


@pytest.mark.parametrize("overrides", [{"id2label": {0: "a", 1: "b", 2: "c"}}, {"id2label": {"0": "a"}}])
def test_id2label_replaces_the_old_names_and_their_count(overrides: dict[str, Any]) -> None:
    assert labels(overrides, {**BASE, "num_labels": 2}) == tuple(overrides["id2label"].values())


def test_id2label_must_agree_with_a_num_labels_given_beside_it() -> None:
    assert labels({"id2label": {"0": "a"}, "num_labels": 1}) == ("a",)
    with pytest.raises(ConfigError, match="num_labels = 3, but id2label names 1"):
        labels({"id2label": {"0": "a"}, "num_labels": 3})


def test_another_number_of_labels_drops_the_names() -> None:
    assert labels({"num_labels": 3}) == ("LABEL_0", "LABEL_1", "LABEL_2")


def test_the_same_number_of_labels_keeps_the_names() -> None:
    assert labels({"num_labels": 2}) == ("no", "yes")
    assert labels({"num_labels": 2}, {**BASE, "num_labels": 5}) == ("no", "yes")


def test_dropping_the_number_keeps_the_names() -> None:
    assert labels({"num_labels": None}, {**BASE, "num_labels": 5}) == ("no", "yes")


def test_dropping_the_names_leaves_two_numbered_ones() -> None:
    assert labels({"id2label": None}) == ("LABEL_0", "LABEL_1")


def test_label2id_cannot_name_classes() -> None:
    with pytest.raises(ConfigError, match=r"unknown labels \['maybe'\].*id2label"):
        labels({"label2id": {"no": 0, "maybe": 1}})
    assert labels({"label2id": {"no": 0, "yes": 1}}) == ("no", "yes")


def test_a_function_sees_keys_as_items_and_attributes() -> None:
    def change(config: Any) -> Any:
        assert config.hidden_size == config["hidden_size"] == 8
        assert config.rope_scaling.factor == 2.0
        assert getattr(config, "absent", "default") == "default"
        assert not hasattr(config, "absent")
        config.hidden_size = 16
        config["num_attention_heads"] = 4
        config.rope_scaling.factor = 4.0
        return config

    changed = apply_overrides(BASE, change)
    assert (changed["hidden_size"], changed["num_attention_heads"]) == (16, 4)
    assert changed["rope_scaling"] == {"rope_type": "yarn", "factor": 4.0}
    assert BASE["rope_scaling"]["factor"] == 2.0


def test_a_function_names_the_attribute_that_is_missing() -> None:
    with pytest.raises(AttributeError, match="'absent'"):
        apply_overrides(BASE, lambda config: config.absent)


def test_a_function_may_remove_keys() -> None:
    def change(config: Any) -> Any:
        del config.rope_scaling
        del config["hidden_size"]
        return config

    assert apply_overrides(BASE, change).keys() == {"id2label", "label2id"}


def test_a_function_that_sets_labels_is_followed_like_a_dict() -> None:
    def three(config: Any) -> Any:
        config.num_labels = 3
        return config

    def names(config: Any) -> Any:
        config.id2label = {0: "a", 1: "b", 2: "c"}
        return config

    assert labels(three) == ("LABEL_0", "LABEL_1", "LABEL_2")
    assert labels(names) == ("a", "b", "c")


def test_a_function_may_return_any_mapping() -> None:
    assert apply_overrides(BASE, lambda _: UserDict({"hidden_size": 4})) == {"hidden_size": 4}


@pytest.mark.parametrize("returned", [None, 3, [("hidden_size", 4)]])
def test_a_function_must_return_a_config(returned: Any) -> None:
    with pytest.raises(ConfigError, match=f"must return the config, got {type(returned).__name__}"):
        apply_overrides(BASE, lambda _: returned)

"""A parameter that no checkpoint has in some layers, because the model does not use it there."""

from dataclasses import replace

import numpy as np
import pytest
from checkpoint_helpers import TABLE, shapes, target, tensors, write_single

from weights import CheckpointError, RuleTable, check_names, load, open_checkpoint

NORM = "model.layers.0.input_layernorm.weight"
LAYOUTS = pytest.mark.parametrize("stacked", [False, True], ids=["unrolled", "stacked"])


def table(*layers: int) -> RuleTable:
    """`TABLE` whose layers `layers` have no attn_norm."""
    rules = (replace(rule, absent=layers) if "attn_norm" in rule.target else rule for rule in TABLE.rules)
    return replace(TABLE, rules=tuple(rules))


@LAYOUTS
def test_an_absent_layer_holds_zeros_and_the_others_their_tensors(stacked, tmp_path):
    given = tensors()
    write_single(tmp_path, {name: value for name, value in given.items() if name != NORM})
    loaded = load(open_checkpoint(tmp_path), table(0), target(stacked=stacked))
    layers = [
        loaded["layers.attn_norm.weight"][i] if stacked else loaded[f"layers.{i}.attn_norm.weight"] for i in range(3)
    ]
    assert not np.any(layers[0])
    for i in (1, 2):
        np.testing.assert_array_equal(layers[i], given[f"model.layers.{i}.input_layernorm.weight"])


@LAYOUTS
def test_a_tensor_of_an_absent_layer_is_unexpected(stacked):
    with pytest.raises(CheckpointError, match=NORM):
        check_names(shapes(), table(0), target(stacked=stacked))


@LAYOUTS
@pytest.mark.parametrize("layers", [(), (1,)])
def test_another_layer_without_its_tensor_is_an_error(stacked, layers):
    given = {name: shape for name, shape in shapes().items() if name != NORM}
    with pytest.raises(CheckpointError, match=NORM):
        check_names(given, table(*layers), target(stacked=stacked))

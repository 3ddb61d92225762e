import numpy as np
import pytest

from weights import Rule, RuleTable, transforms

ONE = np.arange(24).reshape(4, 6)


@pytest.mark.parametrize(
    ("spec", "inputs", "result"),
    [
        ("identity", [ONE], ONE),
        ("transpose", [ONE], ONE.T),
        ("flatten", [ONE.reshape(4, 3, 2)], ONE),
        ("merge", [ONE.reshape(2, 2, 6)], ONE),
        ("stack|merge", [ONE[:2], ONE[2:]], ONE),
        ("rows:1:3", [ONE], ONE[1:3]),
        ("pick:2:0:2", [ONE], ONE[[2, 0, 2]]),
        ("difference:3:1", [ONE.astype(np.float16)], (ONE[1] - ONE[3]).astype(np.float32)[None]),
        ("difference:0:1", [np.float16([1, 60000])], np.float32([59999])),
        ("pick:1:3|divide:5", [ONE], ONE[[1, 3]].astype(np.float32) / np.float32(5)),
        ("divide:2", [ONE], ONE / np.float32(2)),
        ("rows:0:4", [ONE], ONE),
        ("transpose|rows:2:5", [ONE], ONE.T[2:5]),
        ("group_rows:2:0:1", [ONE], ONE[[0, 2]]),
        ("group_rows:2:1:3", [ONE.T], ONE.T[[1, 2, 4, 5]]),
        ("group_rows:2:1:2", [ONE[:, 0]], ONE[[1, 3], 0]),
        ("concat", [ONE, ONE[:1], ONE[:2]], np.concatenate([ONE, ONE[:1], ONE[:2]])),
        ("stack", [ONE, ONE + 1], np.stack([ONE, ONE + 1])),
        ("stack|flatten", [ONE, ONE + 1], np.stack([ONE, ONE + 1]).reshape(2, 24)),
    ],
)
def test_transforms_give_what_they_say_they_give(spec: str, inputs: list[np.ndarray], result: np.ndarray) -> None:
    transform = transforms.parse(spec)
    np.testing.assert_array_equal(transform.apply(inputs), result)
    assert transform.shape([a.shape for a in inputs]) == result.shape
    assert transform.fuses == (len(inputs) > 1)


def test_every_transform_is_tested_above() -> None:
    marks = test_transforms_give_what_they_say_they_give.pytestmark
    assert {spec.split(":")[0] for spec, *_ in marks[0].args[1]} >= set(transforms.NAMES)


@pytest.mark.parametrize(
    ("spec", "shapes"),
    [
        ("transpose", [(3,)]),
        ("transpose", [(3, 4, 5)]),
        ("flatten", [(3,)]),
        ("merge", [(3, 4)]),
        ("rows:1:5", [(4, 6)]),
        ("pick:1:4", [(4, 6)]),
        ("difference:4:0", [(4, 6)]),
        ("rows:0:1", [()]),
        ("group_rows:2:1:3", [(4, 6)]),
        ("group_rows:3:0:1", [(4, 6)]),
        ("concat", [(2, 3), (2, 4)]),
        ("concat", [(), ()]),
        ("stack", [(2, 3), (2, 4)]),
        ("identity", [(2,), (2,)]),
    ],
)
def test_shapes_that_do_not_fit_are_refused(spec: str, shapes: list[tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match=r"shape|tensor"):
        transforms.parse(spec).shape(shapes)


@pytest.mark.parametrize(
    "spec",
    [
        *("", "rotate", "rows", "rows:1", "rows:2:2", "rows:a:b"),
        *("group_rows:0:0:1", "pick", "difference:1", "transpose:1", "transpose|concat"),
    ],
)
def test_unknown_transforms_are_refused(spec: str) -> None:
    with pytest.raises(ValueError, match=r"transform|rows"):
        transforms.parse(spec)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"target": "a.{layer}.b", "source": "c.{expert}"}, "only placeholder"),
        ({"target": "a.b", "source": "c.{layer}"}, "its target has not"),
        ({"target": "a.l{layer}.b", "source": "c.{layer}"}, "whole component"),
        ({"target": "{layer}.b", "source": "c.{layer}"}, "whole component"),
        ({"target": "a.{layer}.{layer}.b", "source": "c.{layer}"}, "whole component"),
        ({"target": "a", "source": ("b", "c")}, "takes one source"),
        ({"target": "a", "source": "b", "transform": "concat"}, "takes a tuple"),
        ({"target": "a", "source": (), "transform": "concat"}, "names no source"),
        ({"target": "a", "source": "b", "transform": "rotate"}, "unknown transform"),
        ({"target": "a", "source": "b", "other": Rule("b", "c")}, "its other form is for b"),
    ],
)
def test_senseless_rules_are_refused(arguments: dict, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Rule(**arguments)


def test_layers_in_paths() -> None:
    rule = Rule("enc.{layer}.q", "h.{layer}.q.{layer}")
    assert (rule.stacked_target, rule.target_at(3), rule.sources_at(3)) == ("enc.q", "enc.3.q", ("h.3.q.3",))
    shared = Rule("enc.{layer}.q", "h.q")
    assert shared.sources_at(7) == ("h.q",)


def test_a_table_finds_the_rules_that_name_a_tensor() -> None:
    layered, plain = Rule("a.{layer}.q", "h.{layer}.q.{layer}"), Rule("b", "x.y")
    table = RuleTable((layered, plain))
    assert list(table.rules_naming("h.12.q.12")) == [(layered, 12)]
    assert list(table.rules_naming("x.y")) == [(plain, None)]
    assert not [*table.rules_naming("h.1.q.2"), *table.rules_naming("xzy")]


def test_a_table_finds_the_other_forms_of_its_rules() -> None:
    other = Rule("a.{layer}.q", "h{layer}1.fused")
    rule = Rule("a.{layer}.q", ("h.{layer}.e.0", "h.{layer}.e.1"), "stack", other=other)
    table = RuleTable((rule,))
    assert rule.forms == (rule, other)
    assert list(table.rules_naming("h.12.e.1")) == [(rule, 12)]
    assert list(table.rules_naming("h121.fused")) == [(other, 12)]


def test_renames_apply_in_order_and_ignores_see_both_names() -> None:
    table = RuleTable((), ignore=("*.old", "model.skip.*"), renames=((r"^bert\.", ""), (r"^", "model.")))
    assert table.rename("bert.x") == "model.x"
    assert table.ignores("bert.x.old")
    assert table.ignores("bert.skip.y")
    assert not table.ignores("bert.x")


@pytest.mark.parametrize("rename", [("(", ""), ("a", r"\1")])
def test_broken_renames_are_refused(rename: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="rename"):
        RuleTable((), renames=(rename,))

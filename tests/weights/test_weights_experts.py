"""Parameters that checkpoints hold in one of two forms: a tensor an expert, or one of all experts."""

import jax
import numpy as np
import pytest

from weights import CheckpointError, DummySource, Rule, RuleTable, load, random_tensor

LAYERS, EXPERTS, DIM, MLP = 2, 6, 4, 3
PATH = "layers.{layer}.experts.weight"
EACH = tuple(f"h.{{layer}}.experts.{i}.{name}.weight" for i in range(EXPERTS) for name in ("gate", "up"))
TABLE = RuleTable((Rule(PATH, EACH, "stack|merge", other=Rule(PATH, "h.{layer}.experts.gate_up", "merge")),))
ROWS = EXPERTS * 2 * MLP

LAYOUTS = pytest.mark.parametrize("stacked", [False, True], ids=["unrolled", "stacked"])
Arrays = dict[str, np.ndarray]


class Source(DummySource):
    """A source over arrays."""

    def __init__(self, arrays: Arrays) -> None:
        super().__init__({name: array.shape for name, array in arrays.items()})
        self.arrays = arrays

    def read(self, name: str) -> np.ndarray:
        return self.arrays[name]


def target(*, stacked: bool, quantised: bool = False) -> dict[str, jax.ShapeDtypeStruct]:
    prefixes = {"layers.": (LAYERS,)} if stacked else {f"layers.{i}.": () for i in range(LAYERS)}
    model = {}
    for prefix, lead in prefixes.items():
        model[f"{prefix}experts.weight"] = jax.ShapeDtypeStruct(
            (*lead, ROWS, DIM), np.int8 if quantised else np.float32
        )
        if quantised:
            model[f"{prefix}experts.scale"] = jax.ShapeDtypeStruct((*lead, ROWS), np.float32)
    return model


def each() -> Arrays:
    names = [name.replace("{layer}", str(layer)) for layer in range(LAYERS) for name in EACH]
    return {name: random_tensor(0, name, (MLP, DIM)) for name in names}


def fused(given: Arrays) -> Arrays:
    names = {f"h.{i}.experts.gate_up": [n.replace("{layer}", str(i)) for n in EACH] for i in range(LAYERS)}
    return {name: np.concatenate([given[n] for n in parts]).reshape(EXPERTS, -1, DIM) for name, parts in names.items()}


@LAYOUTS
def test_both_forms_give_the_same_parameter(stacked: bool) -> None:
    given = each()
    rows = np.stack([np.concatenate([given[n.replace("{layer}", str(i))] for n in EACH]) for i in range(LAYERS)])
    for arrays in (given, fused(given)):
        loaded = load(Source(arrays), TABLE, target(stacked=stacked))
        values = np.stack([np.asarray(array) for array in loaded.values()])
        np.testing.assert_array_equal(values[0] if stacked else values, rows)


@LAYOUTS
def test_experts_are_quantised_row_by_row(stacked: bool) -> None:
    given = each()
    exact = load(Source(given), TABLE, target(stacked=stacked))
    for arrays in (given, fused(given)):
        loaded = load(Source(arrays), TABLE, target(stacked=stacked, quantised=True))
        for path, values in exact.items():
            weight, scale = np.asarray(loaded[path]), np.asarray(loaded[path.replace("weight", "scale")])
            assert (np.abs(weight * scale[..., None] - np.asarray(values)) <= scale[..., None] * 0.501).all()


def test_what_either_form_lacks_is_named() -> None:
    given = each()
    some = {name: array for name, array in given.items() if name != "h.1.experts.4.up.weight"}
    with pytest.raises(CheckpointError, match=r"missing.*\(1\):\n *h\.1\.experts\.4\.up\.weight \(for layers\.1"):
        load(Source(some), TABLE, target(stacked=False))
    whole = fused(given)
    del whole["h.0.experts.gate_up"]
    with pytest.raises(CheckpointError, match=r"\(1\):\n *h\.0\.experts\.gate_up \(for layers\.0"):
        load(Source(whole), TABLE, target(stacked=False))
    with pytest.raises(CheckpointError, match=r"in the model uses them \(2\):\n *h\.0\.experts\.gate_up"):
        load(Source(given | fused(given)), TABLE, target(stacked=False))
    with pytest.raises(CheckpointError, match=r"\(24\):\n *h\.0\.experts\.0\.gate\.weight"):
        load(Source({}), TABLE, target(stacked=False))


def test_of_many_sources_the_first_are_named() -> None:
    given = each()
    given["h.1.experts.5.up.weight"] = np.zeros((MLP + 1, DIM), np.float32)
    with pytest.raises(CheckpointError, match=r"h\.1\.experts\.1\.up\.weight \+ 8 more has shape"):
        load(Source(given), TABLE, target(stacked=False))
    given["h.1.experts.5.up.weight"] = np.full((MLP, DIM), np.nan, np.float32)
    with pytest.raises(CheckpointError, match=r"\+ 8 more \(for layers\.1\.experts\.weight\), 12 of 144 values"):
        load(Source(given), TABLE, target(stacked=False))

"""Quantisation: the numbers, and how a load goes about it."""

import tracemalloc
from pathlib import Path

import jax
import memory_helpers as memory
import ml_dtypes
import numpy as np
import pytest
from checkpoint_helpers import LAYERS, TABLE, expected, target, tensors, write_sharded, write_single

from weights import CheckpointError, load, load_dummy, open_checkpoint, random_tensor, total_bytes
from weights.accounting import scales
from weights.quantise import quantise

LAYOUTS = pytest.mark.parametrize("stacked", [False, True], ids=["unrolled", "stacked"])
QUANTISED = ("attn.qk", "mlp.down")  # one is fused from two tensors, one transposed


def quantised(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    weight, scale = np.full(values.shape, -128, np.int8), np.full(values.shape[0], np.nan, np.float32)
    quantise(values, weight, scale)
    return weight, scale


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16, np.float64])
@pytest.mark.parametrize("shape", [(5, 7), (3, 100_000), (200, 1000), (1, 1)])
def test_no_value_moves_by_more_than_half_its_rows_scale(shape: tuple[int, int], dtype: type) -> None:
    values = (random_tensor(0, "x", shape) * np.logspace(-3, 3, shape[0], dtype=np.float32)[:, None]).astype(dtype)
    weight, scale = quantised(values)
    exact = values.astype(np.float64)
    np.testing.assert_allclose(scale, np.abs(exact).max(axis=1) / 127, rtol=1e-6)
    assert (np.abs(weight * scale[:, None].astype(np.float64) - exact) <= scale[:, None] * (0.5 + 1e-5)).all()
    assert (np.abs(weight.astype(np.int32)).max(axis=1) == 127).all()


def test_it_is_symmetric_and_ties_go_to_even() -> None:
    values = np.array([[127, -127, 0.5, 1.5, -0.5, -1.5, 126.4]], np.float32)
    weight, scale = quantised(values)
    assert weight.tolist() == [[127, -127, 0, 2, 0, -2, 126]]
    assert scale.tolist() == [1]
    np.testing.assert_array_equal(quantised(-values)[0], -weight)


def test_rows_of_zeros_and_of_next_to_nothing_are_zeros() -> None:
    tiny = np.finfo(np.float32).smallest_subnormal
    values = np.array([[0, 0], [tiny, 190 * tiny], [0, -0.0], [2, 1]], np.float32)
    weight, scale = quantised(values)
    assert weight.tolist() == [[0, 0], [0, 0], [0, 0], [127, 64]]
    assert (np.isfinite(scale) & (scale > 0)).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_a_row_that_is_not_finite_has_a_scale_that_tells(bad: float) -> None:
    values = np.ones((3, 4))
    values[1, 2] = bad
    with np.errstate(all="ignore"):
        _, scale = quantised(values)
    assert np.isfinite(scale).tolist() == [True, False, True]


def quantised_target(*, stacked: bool) -> dict[str, jax.ShapeDtypeStruct]:
    result = {}
    for path, spec in target(stacked=stacked).items():
        module = path.removesuffix(".weight")
        if module != path and module.endswith(QUANTISED):
            result[module + ".scale"] = jax.ShapeDtypeStruct(spec.shape[:-1], np.float32)
            spec = jax.ShapeDtypeStruct(spec.shape, np.int8)  # noqa: PLW2901
        result[path] = spec
    return result


def wanted(whole: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    result = {}
    for path, value in whole.items():
        module = path.removesuffix(".weight")
        if module != path and module.endswith(QUANTISED):
            scale = np.abs(value).max(axis=-1) / np.float32(127)
            result |= {path: np.rint(value / scale[..., None]).astype(np.int8), module + ".scale": scale}
        else:
            result[path] = value
    return result


@LAYOUTS
@pytest.mark.parametrize("write", [write_single, write_sharded])
def test_a_load_quantises_what_the_target_has_in_int8(tmp_path: Path, write, stacked: bool) -> None:
    given, model, seen = tensors(), quantised_target(stacked=stacked), []
    loaded = load(open_checkpoint(write(tmp_path, given)), TABLE, model, progress=seen.append)
    assert list(loaded) == list(model)
    assert sum(seen) == total_bytes(model)
    for path, value in wanted(expected(given, stacked=stacked)).items():
        assert loaded[path].dtype == model[path].dtype
        np.testing.assert_array_equal(np.asarray(loaded[path]), value, err_msg=path)
    assert len(scales(model)) == len(QUANTISED) * (1 if stacked else LAYERS)


@LAYOUTS
def test_dummy_weights_are_quantised_alike(stacked: bool) -> None:
    whole = {path: np.asarray(value) for path, value in load_dummy(TABLE, target(stacked=stacked)).items()}
    found = load_dummy(TABLE, quantised_target(stacked=stacked))
    for path, value in wanted(whole).items():
        np.testing.assert_array_equal(np.asarray(found[path]), value, err_msg=path)


@LAYOUTS
def test_values_that_are_not_finite_are_named(tmp_path: Path, stacked: bool) -> None:
    given = tensors()
    given["model.layers.1.mlp.down_proj.weight"][0, :2] = np.inf
    with pytest.raises(CheckpointError, match=r"layers\.1\.mlp\.down_proj\.weight .*, 2 of 8 rows"):
        load(open_checkpoint(write_single(tmp_path, given)), TABLE, quantised_target(stacked=stacked))


def test_values_that_float32_does_not_hold_are_named(tmp_path: Path) -> None:
    given = tensors(np.float64)
    given["model.layers.1.mlp.down_proj.weight"][0, 0] = 1e300
    with pytest.raises(CheckpointError, match=r"1 of 8 rows: they are finite as float64 but too large for float32"):
        load(open_checkpoint(write_single(tmp_path, given)), TABLE, quantised_target(stacked=False))


def test_int8_tensors_are_not_taken_for_quantised_ones(tmp_path: Path) -> None:
    given = tensors()
    name = "model.layers.0.mlp.down_proj.weight"
    given[name] = given[name].astype(np.int8)
    with pytest.raises(CheckpointError, match=f"{name} is int8, .* not dequantised"):
        load(open_checkpoint(write_single(tmp_path, given)), TABLE, quantised_target(stacked=False))


def test_scales_need_their_weight_in_int8() -> None:
    model = target(stacked=True)
    model["layers.mlp.down.scale"] = jax.ShapeDtypeStruct((LAYERS, 8), np.float32)
    with pytest.raises(CheckpointError, match=r"no rule fills.*\n.*layers\.mlp\.down\.scale"):
        load_dummy(TABLE, model)


@LAYOUTS
def test_the_host_never_holds_more_than_a_tensor_unquantised(tmp_path: Path, stacked: bool) -> None:
    table = memory.TABLE
    table = type(table)(tuple(type(r)(r.target + ".weight", r.source) for r in table.rules))
    model = {}
    for path, spec in memory.target(stacked=stacked).items():
        model[path + ".weight"] = jax.ShapeDtypeStruct(spec.shape, np.int8)
        model[path + ".scale"] = jax.ShapeDtypeStruct(spec.shape[:-1], np.float32)
    source = open_checkpoint(memory.write(tmp_path))
    tracemalloc.start()
    try:
        loaded = load(source, table, model)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    finished = total_bytes(model)
    assert finished <= kept <= finished + (1 << 20)
    assert finished == pytest.approx(memory.TOTAL / 4, rel=0.01)
    assert peak <= finished + memory.ROW
    assert all(value.dtype == np.int8 for path, value in loaded.items() if path.endswith(".weight"))

from pathlib import Path

import jax
import ml_dtypes
import numpy as np
import pytest
from checkpoint_helpers import (
    CLASSES,
    DIM,
    LAYERS,
    TABLE,
    expected,
    shapes,
    target,
    tensors,
    write_sharded,
    write_single,
)

from weights import (
    CheckpointError,
    DummySource,
    MissingHeadError,
    Rule,
    RuleTable,
    check_names,
    load,
    load_dummy,
    open_checkpoint,
    random_tensor,
    total_bytes,
)
from weights.loader import count_non_finite

LAYOUTS = pytest.mark.parametrize("stacked", [False, True], ids=["unrolled", "stacked"])


class ArraySource:
    """A source over arrays in memory that records what is read."""

    def __init__(self, arrays: dict[str, np.ndarray]) -> None:
        self.arrays = arrays
        self.reads: list[str] = []

    def names(self) -> list[str]:
        return list(self.arrays)

    def shape(self, name: str) -> tuple[int, ...]:
        return self.arrays[name].shape

    def dtype(self, name: str) -> np.dtype:
        return self.arrays[name].dtype

    def read(self, name: str) -> np.ndarray:
        self.reads.append(name)
        return self.arrays[name]

    def release(self, name: str) -> None:
        assert name in self.reads


def assert_equal(loaded: dict[str, jax.Array], wanted: dict[str, np.ndarray]) -> None:
    assert loaded.keys() == wanted.keys()
    for path, array in loaded.items():
        np.testing.assert_array_equal(np.asarray(array), wanted[path], err_msg=path)


@LAYOUTS
@pytest.mark.parametrize("write", [write_single, write_sharded])
def test_a_checkpoint_loads_exactly(tmp_path: Path, write, stacked: bool) -> None:
    given = tensors()
    model = target(stacked=stacked)
    loaded = load(open_checkpoint(write(tmp_path, given)), TABLE, model)
    assert_equal(loaded, expected(given, stacked=stacked))
    assert list(loaded) == list(model)
    assert all(isinstance(array, jax.Array) and array.dtype == np.float32 for array in loaded.values())


@LAYOUTS
def test_names_of_an_older_checkpoint_are_renamed_and_needless_tensors_ignored(stacked: bool) -> None:
    given = tensors()
    old = {name.removeprefix("model.").replace("layernorm.weight", "layernorm.gamma"): a for name, a in given.items()}
    old |= {"lm_head.weight": np.ones(3), "layers.0.rotary_emb.inv_freq": np.ones(3)}
    source = ArraySource(old)
    assert_equal(load(source, TABLE, target(stacked=stacked)), expected(given, stacked=stacked))
    assert "lm_head.weight" not in source.reads


@LAYOUTS
def test_optional_tensors_are_used_where_they_are(stacked: bool) -> None:
    given = tensors()
    given["score.bias"] = np.arange(CLASSES, dtype=np.float32)
    biases = {f"model.layers.{i}.mlp.down_proj.bias": np.full(DIM, i, np.float32) for i in range(LAYERS)}
    wanted = expected(given, stacked=stacked) | {"head.score.bias": given["score.bias"]}
    for i, bias in enumerate(biases.values()):
        if stacked:
            wanted["layers.mlp.down.bias"][i] = bias
        else:
            wanted[f"layers.{i}.mlp.down.bias"] = bias
    assert_equal(load(ArraySource(given | biases), TABLE, target(stacked=stacked)), wanted)


@LAYOUTS
def test_an_optional_tensor_that_one_layer_lacks_is_missing(stacked: bool) -> None:
    given = tensors() | {"model.layers.1.mlp.down_proj.bias": np.ones(DIM, np.float32)}
    with pytest.raises(CheckpointError) as caught:
        load(ArraySource(given), TABLE, target(stacked=stacked))
    assert "missing from the checkpoint (2)" in str(caught.value)
    assert "model.layers.0.mlp.down_proj.bias (for layers.0.mlp.down.bias)" in str(caught.value)


def test_stacked_scalars_and_shared_layers() -> None:
    table = RuleTable((Rule("h.{layer}.scale", "s.{layer}"), Rule("h.{layer}.w", "shared")))
    given = {"s.0": np.array(2, np.float32), "s.1": np.array(3, np.float32), "shared": np.arange(4, dtype=np.float32)}
    model = {"h.scale": jax.ShapeDtypeStruct((2,), np.float32), "h.w": jax.ShapeDtypeStruct((2, 4), np.float32)}
    loaded = load(ArraySource(given), table, model)
    assert_equal(loaded, {"h.scale": np.array([2.0, 3.0]), "h.w": np.stack([given["shared"]] * 2)})


@pytest.mark.parametrize("source_dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
@pytest.mark.parametrize("target_dtype", [np.float32, ml_dtypes.bfloat16, np.float16])
def test_floats_are_converted_to_the_target(source_dtype: type, target_dtype: type) -> None:
    values = np.random.default_rng(0).standard_normal((64, 33)).astype(source_dtype)
    table, model = RuleTable((Rule("w", "w"),)), {"w": jax.ShapeDtypeStruct(values.shape, target_dtype)}
    loaded = np.asarray(load(ArraySource({"w": values}), table, model)["w"])
    assert loaded.dtype == target_dtype
    np.testing.assert_array_equal(loaded, values.astype(target_dtype))
    if target_dtype is np.float32 and source_dtype is not np.float64:
        np.testing.assert_array_equal(loaded.astype(source_dtype), values)  # nothing is lost


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, ml_dtypes.float8_e4m3fn, np.bool_])
def test_quantised_weights_are_refused_with_the_reason(dtype: type) -> None:
    given = tensors() | {"score.weight": np.ones((CLASSES, DIM), dtype)}
    with pytest.raises(CheckpointError, match=f"score.weight is {np.dtype(dtype)}, .* not dequantised"):
        load(ArraySource(given), TABLE, target(stacked=False))


def test_an_integer_parameter_takes_its_own_dtype_only() -> None:
    table, model = RuleTable((Rule("ids", "ids"),)), {"ids": jax.ShapeDtypeStruct((2,), np.int32)}
    ids = np.array([1, 2], np.int32)
    assert_equal(load(ArraySource({"ids": ids}), table, model), {"ids": ids})
    with pytest.raises(CheckpointError, match=r"ids is float32, ids is int32$"):
        load(ArraySource({"ids": ids.astype(np.float32)}), table, model)


@LAYOUTS
def test_everything_wrong_is_named_at_once_before_anything_is_read(stacked: bool) -> None:
    given = tensors()
    del given["model.layers.1.self_attn.k_proj.weight"], given["model.norm.weight"]
    given["model.layers.2.mlp.down_proj.weight"] = np.ones((DIM, DIM), np.float32)
    given["model.layers.0.self_attn.k_proj.weight"] = np.ones((3, DIM + 1), np.float32)
    given["score.weight"] = np.ones((CLASSES + 1, DIM), np.float32)
    given["model.embed_tokens.weight"] = given["model.embed_tokens.weight"].astype(np.int8)
    given["model.layers.3.input_layernorm.weight"] = np.ones(DIM, np.float32)
    given["model.layers.0.mlp.down_proj.weight_scale"] = np.ones(1, np.float32)
    given["pooler.dense.weight"] = np.ones((2, 2), np.float32)
    given["norm.gamma"] = given["model.norm.gamma"] = np.ones(DIM, np.float32)
    model = target(stacked=stacked) | {"extra.weight": jax.ShapeDtypeStruct((1,), np.float32)}
    source = ArraySource(given)
    with pytest.raises(CheckpointError) as caught:
        load(source, TABLE, model)
    message = str(caught.value)
    assert not isinstance(caught.value, MissingHeadError)
    assert source.reads == []
    for line in (
        "missing from the checkpoint (1):\n  model.layers.1.self_attn.k_proj.weight (for layers.1.attn.qk.weight)",
        "model.layers.2.mlp.down_proj.weight has shape (8, 8); layers.2.mlp.down.weight has (8, 12)",
        "model.layers.0.self_attn.k_proj.weight has shape (8, 8) + (3, 9) (for layers.0.attn.qk.weight (12, 8)): c",
        "score.weight has shape (6, 8); head.score.weight has (5, 8)",
        "model.embed_tokens.weight is int8",
        "model.layers.3.input_layernorm.weight (the model has no layers.3.attn_norm.weight)",
        "model.layers.0.mlp.down_proj.weight_scale (part of a quantised checkpoint",
        "pooler.dense.weight",
        "norm.gamma and model.norm.gamma, both read as model.norm.weight",
        "parameters of the model that no rule fills (1):\n  extra.weight",
    ):
        assert line in message


def test_long_lists_are_cut_and_counted() -> None:
    given = tensors() | {f"extra.{i}": np.ones(1, np.float32) for i in range(27)}
    with pytest.raises(CheckpointError) as caught:
        load(ArraySource(given), TABLE, target(stacked=False))
    message = str(caught.value)
    assert "uses them (27)" in message
    assert "extra.19\n  ... and 7 more" in message
    assert "extra.20" not in message


def test_two_rules_for_one_parameter_are_refused() -> None:
    table = RuleTable((*TABLE.rules, Rule("final_norm.weight", "model.norm.weight")), TABLE.ignore, TABLE.renames)
    with pytest.raises(CheckpointError, match=r"final_norm\.weight, by two rules"):
        load(ArraySource(tensors()), table, target(stacked=False))


@LAYOUTS
def test_all_values_that_are_not_finite_are_named(stacked: bool) -> None:
    given = tensors(np.float16)
    given["model.layers.1.input_layernorm.weight"][3] = np.nan
    given["model.layers.2.self_attn.k_proj.weight"][0, :2] = -np.inf
    given["score.weight"][1, 1] = np.inf
    with pytest.raises(CheckpointError) as caught:
        load(ArraySource(given), TABLE, target(stacked=stacked))
    message = str(caught.value)
    assert "model.layers.1.input_layernorm.weight (for layers.1.attn_norm.weight), 1 of 8 values" in message
    qk = "model.layers.2.self_attn.q_proj.weight + model.layers.2.self_attn.k_proj.weight"
    assert f"{qk} (for layers.2.attn.qk.weight), 2 of 96 values" in message
    assert "score.weight (for head.score.weight), 1 of 40 values" in message
    assert "not finite (a broken file, or a dtype too narrow for them) (3)" in message


def test_values_too_large_for_the_target_are_named_as_such() -> None:
    given = tensors()
    given["score.weight"][0, 0] = 1e5
    load(ArraySource(given), TABLE, target(stacked=False, dtype=ml_dtypes.bfloat16))
    with pytest.raises(CheckpointError, match="1 of 40 values: they are finite as float32 but too large for float16"):
        load(ArraySource(given), TABLE, target(stacked=False, dtype=np.float16))


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64])
@pytest.mark.parametrize("size", [0, 1, 65_536, 200_000])
def test_non_finite_values_are_counted_wherever_they_are(dtype: type, size: int) -> None:
    largest = ml_dtypes.finfo(dtype).max
    values = np.resize(np.array([0, -0.0, largest, -largest, 1], dtype), size)
    assert count_non_finite(values) == 0
    bad = sorted({0, size // 2, size - 1} & set(range(size)))
    values[bad] = np.array([np.nan, np.inf, -np.inf], dtype)[: len(bad)]
    assert count_non_finite(values) == len(bad)


def test_a_missing_head_is_refused_with_the_opt_in() -> None:
    given = tensors()
    del given["score.weight"]
    with pytest.raises(MissingHeadError) as caught:
        load(ArraySource(given), TABLE, target(stacked=True))
    for part in (
        "score.weight (for head.score.weight)",
        "random",
        'head_init="zeros"',
        "fine-tuned for classification",
    ):
        assert part in str(caught.value)


def test_a_missing_head_is_named_with_all_else_that_is_wrong() -> None:
    given = tensors() | {"cls.predictions.bias": np.ones(3, np.float32)}
    del given["score.weight"], given["model.norm.weight"]
    with pytest.raises(MissingHeadError) as caught:
        load(ArraySource(given), TABLE, target(stacked=True))
    assert "model.norm.weight (for final_norm.weight)" in str(caught.value)
    assert "cls.predictions.bias" in str(caught.value)


HEAD_TABLE = RuleTable(
    (
        Rule("head.dense.weight", "d.w"),
        Rule("head.dense.bias", "d.b"),
        Rule("head.norm.weight", "n.w"),
        Rule("body", "b"),
    )
)
HEAD_TARGET = {
    "head.dense.weight": jax.ShapeDtypeStruct((100, 200), np.float32),
    "head.dense.bias": jax.ShapeDtypeStruct((100,), np.float32),
    "head.norm.weight": jax.ShapeDtypeStruct((100,), np.float32),
    "body": jax.ShapeDtypeStruct((1,), np.float32),
}


def test_a_head_is_made_on_request() -> None:
    body = ArraySource({"b": np.ones(1, np.float32)})
    zeros = load(body, HEAD_TABLE, HEAD_TARGET, head_init="zeros")
    assert not any(np.any(zeros[path]) for path in HEAD_TARGET if path != "body")
    first, again, other = (load(body, HEAD_TABLE, HEAD_TARGET, head_init="random", seed=s) for s in (1, 1, 2))
    weight = np.asarray(first["head.dense.weight"])
    assert abs(weight.std() - 0.02) < 0.0005
    assert abs(weight.mean()) < 0.0005
    np.testing.assert_array_equal(weight, again["head.dense.weight"])
    assert np.any(weight != np.asarray(other["head.dense.weight"]))
    assert not np.any(first["head.dense.bias"])
    assert np.all(np.asarray(first["head.norm.weight"]) == 1)


def test_what_the_checkpoint_has_of_a_head_is_kept() -> None:
    weight = random_tensor(0, "w", (100, 200))
    source = ArraySource({"b": np.ones(1, np.float32), "d.w": weight, "n.w": np.ones(100, np.float32)})
    loaded = load(source, HEAD_TABLE, HEAD_TARGET, head_init="zeros")
    np.testing.assert_array_equal(loaded["head.dense.weight"], weight)


def test_head_init_excuses_the_head_only() -> None:
    given = tensors()
    del given["score.weight"], given["model.norm.weight"]
    with pytest.raises(CheckpointError) as caught:
        load(ArraySource(given), TABLE, target(stacked=True), head_init="zeros")
    assert not isinstance(caught.value, MissingHeadError)
    assert "model.norm.weight" in str(caught.value)
    assert "score" not in str(caught.value)


@LAYOUTS
def test_progress_adds_up(stacked: bool) -> None:
    model = target(stacked=stacked, dtype=ml_dtypes.bfloat16)
    reported: list[int] = []
    loaded = load(ArraySource(tensors()), TABLE, model, progress=reported.append)
    assert sum(reported) == total_bytes(model) == sum(array.nbytes for array in loaded.values())
    assert len(reported) > 3 * LAYERS


@LAYOUTS
def test_put_decides_where_arrays_go(stacked: bool) -> None:
    placed: dict[str, np.ndarray] = {}

    def put(path: str, array: np.ndarray) -> jax.Array:
        placed[path] = array
        return jax.numpy.asarray(array) + 1

    given = tensors()
    model = target(stacked=stacked)
    loaded = load(ArraySource(given), TABLE, model, put=put)
    assert_equal(placed, expected(given, stacked=stacked))
    assert_equal(loaded, {path: array + np.float32(1) for path, array in expected(given, stacked=stacked).items()})


def test_weights_outlive_their_file(tmp_path: Path) -> None:
    given = tensors()
    loaded = load(open_checkpoint(write_single(tmp_path, given)), TABLE, target(stacked=False))
    with (tmp_path / "model.safetensors").open("r+b") as file:
        file.write(bytes((tmp_path / "model.safetensors").stat().st_size))
    assert_equal(loaded, expected(given, stacked=False))


@LAYOUTS
def test_names_alone_are_checked_alike(stacked: bool) -> None:
    names = shapes()
    check_names(names, TABLE, target(stacked=stacked))
    with pytest.raises(CheckpointError, match=r"unused\.thing"):
        check_names(names | {"unused.thing": (1,)}, TABLE, target(stacked=stacked))
    del names["score.weight"]
    with pytest.raises(MissingHeadError):
        check_names(names, TABLE, target(stacked=stacked))
    check_names(names, TABLE, target(stacked=stacked), head_init="random")


def test_dummy_weights_are_the_same_in_both_layouts() -> None:
    unrolled = load_dummy(TABLE, target(stacked=False), seed=3)
    stacked = load_dummy(TABLE, target(stacked=True), seed=3)
    for name in ("attn_norm.weight", "attn.qk.weight", "mlp.down.bias"):
        rows = [unrolled[f"layers.{i}.{name}"] for i in range(LAYERS)]
        np.testing.assert_array_equal(stacked[f"layers.{name}"], np.stack(rows))
    np.testing.assert_array_equal(
        stacked["embed.tokens.weight"], random_tensor(3, "embed.tokens.weight", stacked["embed.tokens.weight"].shape)
    )


def test_dummy_weights_need_rules_for_all() -> None:
    with pytest.raises(CheckpointError, match="no rule fills"):
        load_dummy(TABLE, target(stacked=False) | {"extra": jax.ShapeDtypeStruct((1,), np.float32)})


def test_a_dummy_source_loads_like_a_checkpoint() -> None:
    loaded = load(DummySource(shapes(), seed=0), TABLE, target(stacked=True))
    assert_equal(loaded, expected(tensors(), stacked=True))

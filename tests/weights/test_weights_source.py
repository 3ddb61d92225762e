import json
import random
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from checkpoint_helpers import tensors, write_sharded, write_single
from safetensors.numpy import save_file

from weights import CheckpointError, CheckpointNotFoundError, Source, open_checkpoint
from weights.source import SafetensorsFile

DTYPES = [
    *(np.float64, np.float32, np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2),
    *(np.int64, np.int32, np.int16, np.int8, np.uint64, np.uint32, np.uint16, np.uint8, np.bool_),
]


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
def test_every_dtype_reads_as_written(tmp_path: Path, dtype: type) -> None:
    values = np.arange(15).reshape(3, 5).astype(dtype)
    write_single(tmp_path, {"x": values})
    source = open_checkpoint(tmp_path)
    assert isinstance(source, Source)
    assert (source.names(), source.shape("x"), source.dtype("x")) == (["x"], (3, 5), np.dtype(dtype))
    np.testing.assert_array_equal(source.read("x"), values)


def test_odd_offsets_scalars_and_empty_tensors(tmp_path: Path) -> None:
    arrays = {
        "a": np.arange(3, dtype=np.int8),
        "b": np.array(4, np.float32),
        "c": np.empty((0, 7), np.float32),
        "d": np.arange(5, dtype=np.float32),
    }
    write_single(tmp_path, arrays)
    source = open_checkpoint(tmp_path)
    for name, array in arrays.items():
        assert source.read(name).shape == array.shape
        np.testing.assert_array_equal(source.read(name), array)


def test_a_read_is_a_view_that_stays_valid_and_cannot_be_written(tmp_path: Path) -> None:
    arrays = {name: np.full((512, 512), i, np.float32) for i, name in enumerate("abc")}
    source = open_checkpoint(write_single(tmp_path, arrays))
    first = source.read("a")
    assert not first.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 1
    for name in ("b", "c"):
        source.read(name)
    source.release("a")
    np.testing.assert_array_equal(first, arrays["a"])


def test_shards_read_as_one(tmp_path: Path) -> None:
    arrays = tensors()
    source = open_checkpoint(write_sharded(tmp_path, arrays))
    assert set(source.names()) == set(arrays)
    for name, array in arrays.items():
        assert (source.shape(name), source.dtype(name)) == (array.shape, array.dtype)
        np.testing.assert_array_equal(source.read(name), array)


def test_a_file_cut_anywhere_is_refused_by_name(tmp_path: Path) -> None:
    whole = (write_single(tmp_path, {"x": np.arange(6, dtype=np.float32)}) / "model.safetensors").read_bytes()
    path = tmp_path / "model.safetensors"
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match=r"model\.safetensors is truncated or not a safetensors file"):
            open_checkpoint(tmp_path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(CheckpointError, match="truncated"):
        open_checkpoint(tmp_path)


def test_a_damaged_header_raises_nothing_else(tmp_path: Path) -> None:
    arrays = {"x": np.arange(6, dtype=np.float32), "y": np.ones(3, np.int8)}
    whole = (write_single(tmp_path, arrays) / "model.safetensors").read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    rng = random.Random(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[rng.randrange(header)] = rng.randrange(256)
        (tmp_path / "model.safetensors").write_bytes(damaged)
        try:
            open_checkpoint(tmp_path)
        except CheckpointError:
            refused += 1
    assert refused > 100


def raw_file(header: object, data: bytes) -> bytes:
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(encoded).to_bytes(8, "little") + encoded + data


def entry(shape: object, begin: int, end: int, dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    ("header", "size", "reason"),
    [
        ({"x": entry([2], 0, 8), "y": entry([1], 12, 16)}, 16, "tensor y"),  # a hole
        ({"x": entry([2], 0, 8), "y": entry([1], 4, 8)}, 8, "tensor y"),  # an overlap
        ({"x": entry([3], 0, 8)}, 8, "tensor x"),  # shape and bytes disagree
        ({"x": entry([-2], 0, 8)}, 8, "natural number"),
        ({"x": entry([0.5], 0, 8)}, 8, "natural number"),
        ({"x": {"dtype": "F32", "shape": [2]}}, 8, "no 'data_offsets'"),
        ({"x": entry([2], 0, 8)}, 4, "has .* bytes"),
        ([1, 2], 0, "its header"),
        (b'{"x": {}, "x": {}}', 0, "x appears twice"),
        (b"\xff\xfe", 0, "its header"),
    ],
)
def test_an_inconsistent_header_is_refused_with_the_reason(
    tmp_path: Path, header: object, size: int, reason: str
) -> None:
    (tmp_path / "model.safetensors").write_bytes(raw_file(header, bytes(size)))
    with pytest.raises(CheckpointError, match=reason):
        open_checkpoint(tmp_path)


def test_a_dtype_that_is_not_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(raw_file({"x": entry([4], 0, 2, "F4")}, bytes(2)))
    with pytest.raises(CheckpointError, match=r"x \(F4\).*quantised"):
        open_checkpoint(tmp_path)


def test_metadata_is_not_a_tensor(tmp_path: Path) -> None:
    save_file({"x": np.ones(2, np.float32)}, tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert open_checkpoint(tmp_path).names() == ["x"]


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1234\n"


@pytest.mark.parametrize("file", ["model.safetensors", "model.safetensors.index.json"])
def test_git_lfs_pointers_are_recognised(tmp_path: Path, file: str) -> None:
    (tmp_path / file).write_bytes(POINTER)
    with pytest.raises(CheckpointError, match=f"{file} is a git-lfs pointer.*git lfs pull"):
        open_checkpoint(tmp_path)


def edit_index(directory: Path, **weight_map: str | None) -> None:
    path = directory / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    for name, file in weight_map.items():
        if file is None:
            del index["weight_map"][name]
        else:
            index["weight_map"][name] = file
    path.write_text(json.dumps(index))


FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


@pytest.fixture
def two_shards(tmp_path: Path) -> Path:
    return write_sharded(tmp_path, {name: np.ones(2, np.float32) for name in "abcd"}, shards=2)


def test_missing_shards_are_all_named(two_shards: Path) -> None:
    edit_index(two_shards, a="model-00007.safetensors", b="model-00008.safetensors")
    with pytest.raises(CheckpointError, match=r"model-00007\.safetensors, model-00008\.safetensors.*download"):
        open_checkpoint(two_shards)


def test_disagreements_of_index_and_shards_are_all_named(two_shards: Path) -> None:
    save_file({n: np.ones(2, np.float32) for n in ("a", "c", "b")}, two_shards / FIRST)
    edit_index(two_shards, c=None, e=SECOND)
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(two_shards)
    assert f"e is not in {SECOND}" in str(caught.value)
    assert f"c, in {FIRST}, is not in the index" in str(caught.value)
    assert f"b is in {FIRST} and in {SECOND}" in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"{", b"[]", b'{"weight_map": 3}', b'{"metadata": {}}', b'{"weight_map": {"a": 1}}']
)
def test_a_broken_index_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors.index.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"index\.json"):
        open_checkpoint(tmp_path)


def test_an_index_cannot_point_elsewhere(two_shards: Path) -> None:
    edit_index(two_shards, a="../secret.safetensors")
    with pytest.raises(CheckpointError, match="files beside it"):
        open_checkpoint(two_shards)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (["model-1.safetensors", "model-2.safetensors"], "2 safetensors files .*index.json"),
        (["weights.safetensors"], r"rename it to model\.safetensors"),
        (["pytorch_model.bin"], r"only as pytorch_model\.bin; .*save_pretrained.*pull requests"),
        (["pytorch_model-00001-of-00002.bin", "pytorch_model.bin.index.json"], "save_pretrained"),
        (["tf_model.h5", "flax_model.msgpack"], r"flax_model\.msgpack, tf_model\.h5"),
        (["adapter_model.safetensors", "adapter_config.json"], "adapter, not a model"),
        (["config.json"], "neither model.safetensors nor"),
    ],
)
def test_other_directories_are_refused_with_the_way_out(tmp_path: Path, files: list[str], reason: str) -> None:
    for file in files:
        (tmp_path / file).touch()
    with pytest.raises(CheckpointError, match=reason):
        open_checkpoint(tmp_path)


def test_no_directory(tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFoundError, match="no directory"):
        open_checkpoint(tmp_path / "absent")
    with pytest.raises(FileNotFoundError):
        open_checkpoint(tmp_path / "absent")


def test_safetensors_beside_other_formats_are_read(tmp_path: Path) -> None:
    write_single(tmp_path, {"x": np.ones(2, np.float32)})
    (tmp_path / "pytorch_model.bin").touch()
    assert isinstance(open_checkpoint(tmp_path), SafetensorsFile)

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from checkpoint_helpers import TABLE, target, tensors, write_sharded, write_single

from weights import DummySource, load, open_checkpoint
from weights.file_table import FileTable
from weights.joined import JoinedSource
from weights.source import FileSource, Source

EMBED = "model.embed_tokens.weight"


def table_of(source: Source, name: str, dtype: np.dtype | type = np.float32) -> FileTable:
    assert isinstance(source, FileSource)
    return source.table(name, np.dtype(dtype))


@pytest.mark.parametrize("stored", [np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("wanted", [np.float32, ml_dtypes.bfloat16])
def test_rows_are_those_of_the_tensor(tmp_path: Path, stored: type, wanted: type) -> None:
    values = np.random.default_rng(0).normal(size=(40, 6)).astype(stored)
    odd = np.zeros(3, np.uint8)  # no address after it is one for the dtype
    source = open_checkpoint(write_single(tmp_path, {"odd": odd, "x": values}))
    table = table_of(source, "x", wanted)
    ids = np.array([3, 39, 0, 3], np.int32)
    for _ in range(2):  # the second time they come back from the file
        np.testing.assert_array_equal(table.rows(ids), values[ids].astype(wanted))
    np.testing.assert_array_equal(np.concatenate(list(table.parts())), values.astype(wanted))


def test_in_shards_and_joined(tmp_path: Path) -> None:
    arrays = tensors()
    shards = open_checkpoint(write_sharded(tmp_path, arrays))
    joined = JoinedSource(shards, {"dense": DummySource({"x": (2, 2)})})
    for source in (shards, joined):
        np.testing.assert_array_equal(table_of(source, EMBED).rows(np.arange(5)), arrays[EMBED][:5])
    with pytest.raises(TypeError, match="dense/x lies in no file"):
        table_of(joined, "dense/x")


@pytest.mark.parametrize("stacked", [True, False])
def test_all_else_is_loaded(tmp_path: Path, stacked: bool) -> None:
    source, model = open_checkpoint(write_single(tmp_path, tensors())), target(stacked=stacked)
    whole = load(source, TABLE, model)
    loaded = load(source, TABLE, model, in_file=("embed.tokens.weight",))
    table = loaded["embed.tokens.weight"]
    assert list(loaded) == list(whole)
    assert isinstance(table, FileTable)
    for path in model.keys() - {"embed.tokens.weight"}:
        np.testing.assert_array_equal(np.asarray(loaded[path]), np.asarray(whole[path]))


def test_what_is_made_of_tensors_cannot_be_left(tmp_path: Path) -> None:
    source = open_checkpoint(write_single(tmp_path, tensors()))
    with pytest.raises(ValueError, match=r"mlp.down.weight is not a matrix that a file has"):
        load(source, TABLE, target(stacked=False), in_file=("layers.0.mlp.down.weight",))

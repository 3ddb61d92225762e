import logging
import os
import stat
import threading
import time
from pathlib import Path

import jax
import ml_dtypes
import numpy as np
import pytest
from checkpoint_helpers import TABLE, target, tensors, write_sharded, write_single
from hub_helpers import write_cache

from weights import CheckpointError, RuleTable, cache, load, open_checkpoint

MODEL = target(stacked=True) | {"half": jax.ShapeDtypeStruct((3, 5), ml_dtypes.bfloat16)}


def arrays(scale: float = 1.0) -> dict[str, jax.Array]:
    rng = np.random.default_rng(0)
    return {p: jax.numpy.asarray(scale * rng.standard_normal(s.shape), s.dtype) for p, s in MODEL.items()}


def assert_same(one: dict[str, jax.Array], other: dict[str, jax.Array]) -> None:
    assert list(one) == list(other)
    for path, array in one.items():
        assert array.dtype == other[path].dtype
        np.testing.assert_array_equal(np.asarray(array), np.asarray(other[path]))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("cache") / "deep" / "entry"
    cache.save(directory, arrays(), {"model": "org/name", "seed": 0})
    return directory


@pytest.fixture
def entry(written: Path, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    import shutil

    return Path(shutil.copytree(written, tmp_path / "entry"))


def test_what_is_saved_is_restored(written: Path) -> None:
    assert cache.exists(written)
    restored = cache.restore(written, MODEL)
    assert_same(restored, arrays())
    assert all(isinstance(array, jax.Array) for array in restored.values())
    assert cache.read_metadata(written) == {"model": "org/name", "seed": 0}


def test_restored_arrays_take_the_sharding_of_the_target(written: Path) -> None:
    mesh = jax.make_mesh((1,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("x"))
    like = {p: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=sharding) for p, s in MODEL.items()}
    restored = cache.restore(written, like)
    assert all(array.sharding == sharding for array in restored.values())
    assert_same(restored, arrays())


def test_an_entry_is_for_its_owner_only_and_leaves_nothing_beside_it(written: Path) -> None:
    assert stat.S_IMODE(written.stat().st_mode) == 0o700
    assert stat.S_IMODE(written.parent.stat().st_mode) == 0o700
    assert [path.name for path in written.parent.iterdir()] == ["entry"]


def test_saving_again_replaces(entry: Path) -> None:
    cache.save(entry, arrays(2.0), {})
    assert_same(cache.restore(entry, MODEL), arrays(2.0))
    assert [path.name for path in entry.parent.iterdir()] == ["entry"]


def test_a_save_that_fails_leaves_what_was_there(entry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> int:
        raise OSError("no space left")

    monkeypatch.setattr(cache, "_crc32", fail)
    with pytest.raises(OSError, match="no space left"):
        cache.save(entry, arrays(2.0), {})
    monkeypatch.undo()
    assert_same(cache.restore(entry, MODEL), arrays())
    assert [path.name for path in entry.parent.iterdir()] == ["entry"]


def test_savers_at_the_same_time_leave_one_whole_entry(tmp_path: Path) -> None:
    directory = tmp_path / "entry"
    threads = [threading.Thread(target=cache.save, args=(directory, arrays(), {"n": n})) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert_same(cache.restore(directory, MODEL), arrays())
    assert [path.name for path in tmp_path.iterdir()] == ["entry"]


def test_abandoned_halves_are_swept_up_and_those_being_written_are_not(entry: Path) -> None:
    old, fresh = (entry.with_name(f".entry.{name}.partial") for name in ("old", "fresh"))
    for path in (old, fresh):
        path.mkdir()
    two_days_ago = time.time() - 2 * 24 * 3600
    os.utime(old, (two_days_ago, two_days_ago))
    cache.save(entry, arrays(), {})
    assert not old.exists()
    assert fresh.exists()


def data_files(entry: Path) -> list[Path]:
    return sorted((p for p in (entry / "arrays").rglob("*") if p.is_file()), key=lambda p: -p.stat().st_size)


def test_every_damaged_file_is_detected_and_named(entry: Path) -> None:
    for path in data_files(entry):
        content = path.read_bytes()
        if not content:
            continue
        flipped = bytearray(content)
        flipped[len(content) // 2] ^= 1
        path.write_bytes(flipped)
        with pytest.raises(CheckpointError, match=f"damaged: {path.relative_to(entry).as_posix()}"):
            cache.restore(entry, MODEL)
        path.write_bytes(content)
    assert_same(cache.restore(entry, MODEL), arrays())


def truncate(entry: Path) -> None:
    path = data_files(entry)[0]
    path.write_bytes(path.read_bytes()[:-1])


def remove_data(entry: Path) -> None:
    data_files(entry)[0].unlink()


def remove_manifest(entry: Path) -> None:
    (entry / "manifest.json").unlink()


def break_manifest(entry: Path) -> None:
    (entry / "manifest.json").write_text('{"format": 1')


def age_manifest(entry: Path) -> None:
    (entry / "manifest.json").write_text('{"format": 0}')


@pytest.mark.parametrize("damage", [truncate, remove_data, remove_manifest, break_manifest, age_manifest])
def test_an_incomplete_entry_does_not_exist_and_is_made_again(entry: Path, damage, caplog) -> None:
    damage(entry)
    assert not cache.exists(entry)
    with pytest.raises(CheckpointError, match="entry"):
        cache.restore(entry, MODEL)
    built: list[int] = []

    def build() -> dict[str, jax.Array]:
        built.append(1)
        return arrays(3.0)

    with caplog.at_level(logging.WARNING, "weights.cache"):
        assert_same(cache.restore_or_build(entry, MODEL, build, {}), arrays(3.0))
        assert "made again" in caplog.text
        assert_same(cache.restore_or_build(entry, MODEL, build, {}), arrays(3.0))
    assert built == [1]


def test_another_model_is_refused_naming_the_difference(written: Path) -> None:
    other = dict(MODEL) | {"final_norm.weight": jax.ShapeDtypeStruct((9,), np.float32)}
    del other["half"]
    with pytest.raises(CheckpointError, match=r"differ in final_norm\.weight, half\."):
        cache.restore(written, other)


def test_no_entry(tmp_path: Path) -> None:
    assert not cache.exists(tmp_path / "absent")
    with pytest.raises(CheckpointError, match="no finished entry"):
        cache.restore(tmp_path / "absent", MODEL)


def test_orbax_logs_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        cache.save(tmp_path / "entry", arrays(), {})
        cache.restore(tmp_path / "entry", MODEL)
    assert [r.message for r in caplog.records if r.name == "absl"] == []


def test_a_loaded_checkpoint_comes_back(tmp_path: Path) -> None:
    model = target(stacked=True)
    source = open_checkpoint(write_single(tmp_path / "model", tensors()))
    key = cache.content_key(tmp_path / "model", TABLE, model)
    first = cache.restore_or_build(tmp_path / "cache" / key, model, lambda: load(source, TABLE, model), {})
    assert_same(cache.restore(tmp_path / "cache" / key, model), first)


def test_the_key_depends_on_content_rules_target_and_options_and_on_nothing_else(tmp_path: Path) -> None:
    given = tensors()
    one, copy = write_sharded(tmp_path / "one", given), write_sharded(tmp_path / "two", given)
    model = target(stacked=True)
    key = cache.content_key(one, TABLE, model)
    assert len(key) == 32
    assert key == cache.content_key(copy, TABLE, dict(reversed(model.items())), options={})
    given["score.weight"][0, 0] += 1
    changed = {
        cache.content_key(write_sharded(tmp_path / "three", given), TABLE, model),
        cache.content_key(one, RuleTable(TABLE.rules), model),
        cache.content_key(one, TABLE, target(stacked=False)),
        cache.content_key(one, TABLE, target(stacked=True, dtype=ml_dtypes.bfloat16)),
        cache.content_key(one, TABLE, model, options={"head_init": "zeros"}),
    }
    assert key not in changed
    assert len(changed) == 5
    with pytest.raises(CheckpointError, match="neither"):
        cache.content_key(tmp_path, TABLE, model)


def test_files_of_a_hub_snapshot_are_known_by_their_blob(tmp_path: Path) -> None:
    written = write_single(tmp_path / "model", tensors()) / "model.safetensors"
    snapshot = write_cache(tmp_path / "hub", "org/name", {"model.safetensors": written.read_bytes()})
    model = target(stacked=True)
    key = cache.content_key(snapshot, TABLE, model)
    blob = (snapshot / "model.safetensors").resolve()
    blob.write_bytes(b"never looked at")
    assert cache.content_key(snapshot, TABLE, model) == key
    renamed = blob.with_name("0" * 64)
    blob.rename(renamed)
    (snapshot / "model.safetensors").unlink()
    (snapshot / "model.safetensors").symlink_to(renamed)
    assert cache.content_key(snapshot, TABLE, model) != key

import json
import socket
from pathlib import Path

import numpy as np
import pytest
from checkpoint_helpers import write_sharded, write_single
from hub_helpers import COMMIT, Repository, serve, write_cache

from weights import Checkpoint, CheckpointError, CheckpointNotFoundError, open_checkpoint, resolve

SMALL = {
    "config.json": b"{}",
    "tokenizer.json": b"{ }",
    "vocab.txt": b"a",
    "spiece.model": b"b",
    "chat_template.jinja": b"c",
    "modules.json": b"[]",
    "1_Pooling/config.json": b"{  }",
}
CONFIG_ONLY = {"config.json": b"{}"}
NEEDLESS = {
    "README.md": b"#",
    "pytorch_model.bin": b"0",
    "tf_model.h5": b"0",
    "onnx/config.json": b"{}",
    "onnx/model.onnx": b"0",
    "consolidated.safetensors": b"0",
    "checkpoint-500/trainer_state.json": b"{}",
}


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError(f"the network was asked: {args}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def single(tmp_path: Path) -> dict[str, bytes]:
    written = write_single(tmp_path / "made", {"x": np.arange(3, dtype=np.float32)})
    return {"model.safetensors": (written / "model.safetensors").read_bytes()}


@pytest.fixture
def sharded(tmp_path: Path) -> dict[str, bytes]:
    written = write_sharded(tmp_path / "made", {n: np.full(3, i, np.float32) for i, n in enumerate("xyz")}, shards=2)
    return {path.name: path.read_bytes() for path in written.iterdir()}


@pytest.mark.usefixtures("no_network")
def test_a_local_directory_asks_nothing_of_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve(str(tmp_path)) == Checkpoint(tmp_path, is_hub=False, commit=None)
    (tmp_path / "org" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert resolve("org/name").path == Path("org/name")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve("~/org").path == tmp_path / "org"


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    "model", ["./a", "../a", "/a/b", "~/a-b-c", "a\\b", "a/b/c", ".", "models/", "a b", "a/-b?", ""]
)
def test_what_looks_like_a_path_is_not_asked_of_the_hub(model: str, tmp_path: Path, monkeypatch) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    if model in ("", "."):
        assert resolve(model).path == Path()
        return
    with pytest.raises(FileNotFoundError, match="director"):
        resolve(model)


def test_a_file_and_a_revision_of_a_directory_are_refused(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    with pytest.raises(CheckpointError, match="is a file"):
        resolve(str(tmp_path / "f"))
    with pytest.raises(CheckpointError, match="no revision 'v1'"):
        resolve(str(tmp_path), revision="v1")


def test_a_repository_is_downloaded_without_what_is_not_read(tmp_path: Path, single: dict[str, bytes]) -> None:
    with serve(model=Repository(SMALL | single | NEEDLESS)) as hub:
        found = resolve("org/model", cache_dir=tmp_path, endpoint=hub.url)
        assert hub.downloaded() == {*SMALL, *single}
    assert (found.is_hub, found.commit) == (True, COMMIT)
    assert (found.path / "1_Pooling" / "config.json").read_bytes() == b"{  }"
    np.testing.assert_array_equal(open_checkpoint(found.path).read("x"), [0, 1, 2])


def test_shards_follow_the_index(tmp_path: Path, sharded: dict[str, bytes]) -> None:
    other = {"model-00001-of-00009.safetensors": b"not in the index"}
    with serve(model=Repository(SMALL | sharded | NEEDLESS | other)) as hub:
        found = resolve("org/model", revision="v1", cache_dir=tmp_path, endpoint=hub.url)
        assert hub.downloaded() == {*SMALL, *sharded}
    assert open_checkpoint(found.path).names() == ["x", "z", "y"]


def test_configurations_alone(tmp_path: Path, single: dict[str, bytes]) -> None:
    with serve(model=Repository(SMALL | single)) as hub:
        resolve("org/model", cache_dir=tmp_path, endpoint=hub.url, weights=False)
        assert hub.downloaded() == {*SMALL}


def test_what_was_downloaded_is_found_again_offline(tmp_path: Path, sharded: dict[str, bytes]) -> None:
    with serve(model=Repository(SMALL | sharded)) as hub:
        first = resolve("org/model", cache_dir=tmp_path, endpoint=hub.url)
        asked = len(hub.requests)
        assert resolve("org/model", cache_dir=tmp_path, endpoint=hub.url, local_files_only=True) == first
        assert len(hub.requests) == asked
        again = resolve("org/model", cache_dir=tmp_path, endpoint=hub.url)
        assert again == first
        assert not [r for r in hub.requests[asked:] if r.startswith("GET") and "/resolve/" in r]
    assert resolve("org/model", cache_dir=tmp_path, endpoint=hub.url) == first  # the hub is gone, the snapshot is not


def refusal(tmp_path: Path, endpoint: str, **arguments: str) -> CheckpointError:
    with pytest.raises(CheckpointError) as caught:
        resolve("org/model", cache_dir=tmp_path, endpoint=endpoint, **arguments)
    return caught.value


def test_an_absent_repository(tmp_path: Path) -> None:
    with serve() as hub:
        error = refusal(tmp_path, hub.url)
    assert isinstance(error, CheckpointNotFoundError)
    assert "no repository org/model" in str(error)
    assert "spelling" in str(error)


def test_a_private_repository_opens_to_its_token(tmp_path: Path, single: dict[str, bytes]) -> None:
    with serve(model=Repository(SMALL | single, token="secret")) as hub:
        assert "hf auth login" in str(refusal(tmp_path, hub.url))
        error = refusal(tmp_path, hub.url, token="wrong")
        assert "wrong" not in str(error)
        resolve("org/model", cache_dir=tmp_path, endpoint=hub.url, token="secret")


def test_a_gated_repository(tmp_path: Path, single: dict[str, bytes]) -> None:
    with serve(model=Repository(SMALL | single, gated=True)) as hub:
        assert "gated: accept its terms" in str(refusal(tmp_path, hub.url))


def test_access_refused(tmp_path: Path) -> None:
    with serve(model=Repository(SMALL, forbidden=True)) as hub:
        error = refusal(tmp_path, hub.url)
    assert "refuses access to org/model: 403" in str(error)
    assert not isinstance(error, CheckpointNotFoundError)


def test_an_absent_revision(tmp_path: Path) -> None:
    with serve(model=Repository(SMALL)) as hub:
        assert "org/model has no revision 'v9'" in str(refusal(tmp_path, hub.url, revision="v9"))


def test_no_connection(tmp_path: Path) -> None:
    with serve() as hub:
        pass
    error = refusal(tmp_path, hub.url)
    assert isinstance(error, CheckpointNotFoundError)
    assert "the hub cannot be asked" in str(error)


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        ({"pytorch_model.bin": b"0"}, r"org/model has weights only as pytorch_model\.bin; .*refs/pr/<number>"),
        ({"tf_model.h5": b"0"}, r"only as tf_model\.h5"),
        ({"adapter_config.json": b"{}", "adapter_model.safetensors": b"0"}, "adapter, not a model"),
        ({}, "no weights"),
    ],
)
def test_a_repository_without_safetensors(tmp_path: Path, weights: dict[str, bytes], reason: str) -> None:
    with serve(model=Repository(SMALL | weights)) as hub:
        with pytest.raises(CheckpointError, match=reason):
            resolve("org/model", cache_dir=tmp_path, endpoint=hub.url)
        assert hub.downloaded() <= {*SMALL, "adapter_config.json"}


def test_shards_that_the_repository_lacks(tmp_path: Path, sharded: dict[str, bytes]) -> None:
    shard = "model-00002-of-00002.safetensors"
    del sharded[shard]
    with serve(model=Repository(SMALL | sharded)) as hub:
        assert f"lacks {shard}" in str(refusal(tmp_path, hub.url))


@pytest.mark.usefixtures("no_network")
def test_a_cache_made_by_hand_is_read_offline(tmp_path: Path, single: dict[str, bytes]) -> None:
    snapshot = write_cache(tmp_path, "org/model", CONFIG_ONLY | single)
    found = resolve("org/model", cache_dir=tmp_path, local_files_only=True)
    assert found == Checkpoint(snapshot, is_hub=True, commit=COMMIT)
    assert open_checkpoint(found.path).names() == ["x"]


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (None, "org/model is not, or not completely, in the local cache.*run once without it"),
        (CONFIG_ONLY, "snapshot of org/model has no weights"),
        (
            CONFIG_ONLY | {"model.safetensors.index.json": json.dumps({"weight_map": {"x": "s.safetensors"}}).encode()},
            r"lacks s\.safetensors.*local_files_only=True",
        ),
    ],
)
def test_an_incomplete_cache_offline(tmp_path: Path, files: dict[str, bytes] | None, reason: str) -> None:
    if files is not None:
        write_cache(tmp_path, "org/model", files)
    with pytest.raises(CheckpointError, match=reason):
        resolve("org/model", cache_dir=tmp_path, local_files_only=True)

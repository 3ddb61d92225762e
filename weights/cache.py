"""Converted weights on disk, written by Orbax: what a load made is restored as it was, sharded if need be.

An entry is a directory with the arrays and a manifest that lists every file with its size and checksum. It appears
whole or not at all, readable by its owner only.
"""

import json
import logging
import re
import secrets
import shutil
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any

import jax

from weights.accounting import ArraySpec
from weights.errors import CheckpointError, listed
from weights.rules import RuleTable
from weights.source import INDEX, SINGLE, read_index

Scalar = str | int | float | bool | None

_FORMAT = 1  # of entries; part of the key, so that a change of what a load makes finds no old ones
_MANIFEST = "manifest.json"
_MANIFEST_KEYS = {"format", "metadata", "arrays", "files"}
_ARRAYS = "arrays"
_CHUNK = 1 << 20  # bytes
_STALE = 24 * 3600  # seconds after which an unfinished entry is taken for abandoned
_BLOB_NAME = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")

_log = logging.getLogger(__name__)


def content_key(
    checkpoint: Path,
    table: RuleTable,
    target: Mapping[str, ArraySpec],
    *,
    options: Mapping[str, Scalar] | None = None,
    folders: Sequence[str] = (),
) -> str:
    """A name for the weights that loading `checkpoint` gives: equal if and only if all that they depend on is.

    That is the content of the weight files, there and in the `folders` below, the rules, the target's paths, shapes and
    dtypes, and `options` (such as head_init and seed). Files of a hub snapshot are known by the hash that the hub names
    them by; others are read once. Returns 32 hexadecimal digits. Raises CheckpointError where there are no weights.
    """
    files = [file for folder in ("", *folders) for file in _weight_files(checkpoint / folder)]
    key = blake2b(digest_size=16)
    for part in (
        _FORMAT,
        [(file.name, _content_hash(file)) for file in files],
        table,
        sorted((path, tuple(spec.shape), str(spec.dtype)) for path, spec in target.items()),
        sorted((options or {}).items()),
    ):
        key.update(repr(part).encode() + b"\0")
    return key.hexdigest()


def _weight_files(directory: Path) -> list[Path]:
    single, index = directory / SINGLE, directory / INDEX
    if single.is_file():
        return [single]
    if not index.is_file():
        raise CheckpointError(f"{directory} has neither {SINGLE} nor {INDEX}.")
    return [index, *(directory / file for file in sorted(set(read_index(index).values())))]


def exists(directory: Path) -> bool:
    """Whether `directory` holds a finished entry with all its files at their sizes. Their content is not read."""
    try:
        files = _read_manifest(directory)["files"]
        return all((directory / name).stat().st_size == size for name, (size, _) in files.items())
    except (CheckpointError, OSError):
        return False


def save(directory: Path, arrays: Mapping[str, jax.Array], metadata: Mapping[str, Scalar]) -> None:
    """Writes an entry, replacing whatever is at `directory`, for this user only.

    It is written beside `directory` and renamed when done, so that nobody sees half of it; of several processes that
    save the same entry at once, the last wins. Raises CheckpointError for arrays that span several processes.
    """
    import orbax.checkpoint as ocp

    spanning = [path for path, array in arrays.items() if not array.is_fully_addressable]
    if spanning:
        raise CheckpointError(
            f"{', '.join(listed(spanning, limit=3))} lie on several hosts: save from one host, all may restore."
        )
    directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _remove_abandoned(directory)
    partial = directory.with_name(f".{directory.name}.{secrets.token_hex(8)}.partial")
    partial.mkdir(mode=0o700)
    try:
        with _quiet_orbax(), _checkpointer() as checkpointer:
            checkpointer.save((partial / _ARRAYS).absolute(), args=ocp.args.PyTreeSave(dict(arrays)))
        manifest = {
            "format": _FORMAT,
            "metadata": dict(metadata),
            "arrays": {path: [list(array.shape), str(array.dtype)] for path, array in arrays.items()},
            "files": {name: [(partial / name).stat().st_size, _crc32(partial / name)] for name in _files(partial)},
        }
        (partial / _MANIFEST).write_text(json.dumps(manifest))
        _replace(partial, directory)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def restore(directory: Path, target: Mapping[str, jax.ShapeDtypeStruct]) -> dict[str, jax.Array]:
    """The arrays of an entry, in the target's order, on the target's shardings (default device where it has none).

    Raises CheckpointError, naming what is wrong, where the entry is absent, unfinished, damaged or made for another
    target. Every file is checked against its checksum first.
    """
    import orbax.checkpoint as ocp

    manifest = _read_manifest(directory)
    stored = {path: (tuple(shape), dtype) for path, (shape, dtype) in manifest["arrays"].items()}
    wanted = {path: (tuple(spec.shape), str(spec.dtype)) for path, spec in target.items()}
    if stored != wanted:
        differing = sorted(path for path in {*stored, *wanted} if stored.get(path) != wanted.get(path))
        raise CheckpointError(f"{directory} was made for another model; they differ in {', '.join(listed(differing))}.")
    damaged = [name for name, (_, crc) in manifest["files"].items() if _crc32(directory / name) != crc]
    if damaged:
        raise CheckpointError(f"{directory} is damaged: {', '.join(listed(damaged))} changed since it was written.")
    default = jax.numpy.zeros(()).sharding
    like = {
        path: jax.ShapeDtypeStruct(spec.shape, spec.dtype, sharding=spec.sharding or default)
        for path, spec in target.items()
    }
    restore_args = {path: ocp.ArrayRestoreArgs(sharding=spec.sharding) for path, spec in like.items()}
    with _quiet_orbax(), _checkpointer() as checkpointer:
        arrays = checkpointer.restore(
            (directory / _ARRAYS).absolute(), args=ocp.args.PyTreeRestore(like, restore_args=restore_args)
        )
    return {path: arrays[path] for path in target}


def restore_or_build(
    directory: Path,
    target: Mapping[str, jax.ShapeDtypeStruct],
    build: Callable[[], dict[str, jax.Array]],
    metadata: Mapping[str, Scalar],
) -> dict[str, jax.Array]:
    """The arrays of an entry; where there is none that can be used, those that `build` makes, saved for the next time.

    A damaged entry is reported as a warning of the logger `weights.cache` and replaced.
    """
    if directory.exists():
        try:
            return restore(directory, target)
        except CheckpointError as error:
            _log.warning("%s It is made again.", error)
    arrays = build()
    save(directory, arrays, metadata)
    return arrays


def read_metadata(directory: Path) -> dict[str, Scalar]:
    """What `save` was given as metadata. Raises CheckpointError where there is no finished entry."""
    return _read_manifest(directory)["metadata"]


def _read_manifest(directory: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((directory / _MANIFEST).read_bytes())
    except FileNotFoundError:
        raise CheckpointError(f"{directory} is no finished entry of the cache: it has no {_MANIFEST}.") from None
    except ValueError as error:
        raise CheckpointError(f"{directory / _MANIFEST} is damaged: {error}.") from None
    if not isinstance(manifest, dict) or manifest.get("format") != _FORMAT or manifest.keys() != _MANIFEST_KEYS:
        raise CheckpointError(f"{directory} is not an entry of this version of the cache.")
    return manifest


def _checkpointer() -> Any:
    import orbax.checkpoint as ocp

    # Compressing random-looking bytes saves a tenth of the space; leaving it makes a restore three times as fast.
    return ocp.PyTreeCheckpointer(use_ocdbt=True, use_zarr3=True, use_compression=False)


@contextmanager
def _quiet_orbax() -> Iterator[None]:
    def errors_only(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR

    logger = logging.getLogger("absl")
    logger.addFilter(errors_only)
    try:
        yield
    finally:
        logger.removeFilter(errors_only)


def _replace(new: Path, directory: Path) -> None:
    # A directory that is not empty cannot be renamed over: what is there steps aside first.
    while True:
        old = directory.with_name(f".{directory.name}.{secrets.token_hex(8)}.partial")
        try:
            directory.rename(old)
        except FileNotFoundError:
            old = None
        try:
            new.rename(directory)
        except OSError:
            if not directory.exists():
                raise
            continue  # another process was faster between the two renames
        finally:
            if old is not None:
                shutil.rmtree(old, ignore_errors=True)
        return


def _remove_abandoned(directory: Path) -> None:
    for partial in directory.parent.glob(f".{directory.name}.*.partial"):
        if time.time() - partial.stat().st_mtime > _STALE:
            shutil.rmtree(partial, ignore_errors=True)


def _files(directory: Path) -> list[str]:
    return sorted(p.relative_to(directory).as_posix() for p in directory.rglob("*") if p.is_file())


def _crc32(path: Path) -> int | None:
    """The file's checksum; None where there is no file."""
    value = 0
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                value = zlib.crc32(chunk, value)
    except FileNotFoundError:
        return None
    return value


def _content_hash(path: Path) -> str:
    resolved = path.resolve()
    if path.is_symlink() and resolved.parent.name == "blobs" and _BLOB_NAME.fullmatch(resolved.name):
        return resolved.name
    value = blake2b(digest_size=32)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            value.update(chunk)
    return value.hexdigest()

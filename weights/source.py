"""Checkpoints as they lie on disk: safetensors, in one file or in shards, read one tensor at a time.

The format is read here rather than through the safetensors library because that copies each tensor twice on its way
to numpy and knows no float8: 400 MB of float32 take it 0.19 s, a mapped file copied once 0.05 s.
"""

import json
import mmap
import os
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import ml_dtypes
import numpy as np
from jaxtyping import Shaped

from weights.errors import CheckpointError, CheckpointNotFoundError, listed
from weights.file_table import FileTable

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"

_DTYPES: dict[str, np.dtype] = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "F8_E4M3FNUZ": np.dtype(ml_dtypes.float8_e4m3fnuz),
    "F8_E5M2FNUZ": np.dtype(ml_dtypes.float8_e5m2fnuz),
    "F8_E8M0": np.dtype(ml_dtypes.float8_e8m0fnu),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
    "U64": np.dtype(np.uint64),
    "U32": np.dtype(np.uint32),
    "U16": np.dtype(np.uint16),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
    "C64": np.dtype(np.complex64),
}
_MAX_HEADER = 100_000_000  # bytes; the format's own limit
_LFS_POINTER = b"version https://git-lfs"
_OTHER_FORMATS = ("pytorch_model*.bin", "pytorch_model.bin.index.json", "*.h5", "*.msgpack", "*.ckpt", "*.pt", "*.pth")


@runtime_checkable
class Source(Protocol):
    """Named tensors that are read one at a time."""

    def names(self) -> list[str]:
        """All tensor names."""
        ...

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor."""
        ...

    def dtype(self, name: str) -> np.dtype:
        """The dtype of a tensor, bfloat16 and float8 as those of `ml_dtypes`."""
        ...

    def read(self, name: str) -> Shaped[np.ndarray, "..."]:
        """One tensor. It may be a read-only view of a mapped file: copy what is to be kept."""
        ...

    def release(self, name: str) -> None:
        """Lets go of the memory that reading a tensor took; what `read` gave stays valid."""
        ...


@runtime_checkable
class FileSource(Source, Protocol):
    """A source whose matrices can be left in their files."""

    def table(self, name: str, dtype: np.dtype) -> FileTable:
        """A matrix in its file, whose rows are converted when they are read."""
        ...


@dataclass(frozen=True)
class _Entry:
    dtype: np.dtype
    shape: tuple[int, ...]
    begin: int  # byte offset in the file

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize


class SafetensorsFile:
    """One safetensors file, memory-mapped. Raises CheckpointError, with the file's name, where it is not whole."""

    def __init__(self, path: Path) -> None:
        """Reads and checks the header of the file at `path`."""
        self.path = path
        with path.open("rb") as file:
            size = path.stat().st_size
            self._entries = _read_header(path, file.read, size)
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self._descriptor = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._descriptor)

    def names(self) -> list[str]:
        """All tensor names, in the order of the file's header."""
        return list(self._entries)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor."""
        return self._entries[name].shape

    def dtype(self, name: str) -> np.dtype:
        """The dtype of a tensor."""
        return self._entries[name].dtype

    def read(self, name: str) -> Shaped[np.ndarray, "..."]:
        """A read-only view of one tensor in the mapped file."""
        entry = self._entries[name]
        # Asking for the whole tensor at once makes a cold read several times faster than one page fault at a time.
        self._advise("MADV_WILLNEED", entry)
        flat = np.frombuffer(self._map, np.uint8, entry.nbytes, entry.begin) if entry.nbytes else np.empty(0, np.uint8)
        return flat.view(entry.dtype).reshape(entry.shape)

    def release(self, name: str) -> None:
        """Unmaps a tensor's pages; those that are looked at again come back from the file."""
        self._advise("MADV_DONTNEED", self._entries[name])

    def table(self, name: str, dtype: np.dtype) -> FileTable:
        """A matrix in its file, whose rows are converted when they are read."""
        return FileTable(self.path, self._descriptor, self.read(name), dtype, partial(self.release, name))

    def _advise(self, advice: str, entry: _Entry) -> None:
        if not hasattr(mmap, advice) or not entry.nbytes:  # Windows maps files but takes no advice
            return
        page = entry.begin - entry.begin % mmap.PAGESIZE
        self._map.madvise(getattr(mmap, advice), page, entry.begin + entry.nbytes - page)


class ShardedCheckpoint:
    """Several safetensors files and the index that says which tensor is where."""

    def __init__(self, index: Path) -> None:
        """Opens the index and every shard it names. Raises CheckpointError naming all that does not agree."""
        weight_map = read_index(index)
        missing = [f for f in sorted(set(weight_map.values())) if not (index.parent / f).is_file()]
        if missing:
            raise CheckpointError(
                f"{index} names files that are not there: {', '.join(listed(missing))}. "
                "The download is incomplete: download the checkpoint again."
            )
        self._files = {f: SafetensorsFile(index.parent / f) for f in sorted(set(weight_map.values()))}
        problems = _disagreements(weight_map, self._files)
        if problems:
            raise CheckpointError(
                f"{index} and its files do not agree; download the checkpoint again or save it again:\n  "
                + "\n  ".join(listed(problems))
            )
        self._where = {name: self._files[file] for name, file in weight_map.items()}

    def names(self) -> list[str]:
        """All tensor names, in the order of the index."""
        return list(self._where)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor."""
        return self._where[name].shape(name)

    def dtype(self, name: str) -> np.dtype:
        """The dtype of a tensor."""
        return self._where[name].dtype(name)

    def read(self, name: str) -> Shaped[np.ndarray, "..."]:
        """A read-only view of one tensor in its mapped file."""
        return self._where[name].read(name)

    def release(self, name: str) -> None:
        """Unmaps a tensor's pages; those that are looked at again come back from the file."""
        self._where[name].release(name)

    def table(self, name: str, dtype: np.dtype) -> FileTable:
        """A matrix in its file, whose rows are converted when they are read."""
        return self._where[name].table(name, dtype)


def open_checkpoint(path: Path) -> Source:
    """The weights in a directory: `model.safetensors`, or the shards that `model.safetensors.index.json` names.

    Only headers are read. Raises CheckpointError where the directory holds no weights of this format, several files
    without an index, or files that are broken; CheckpointNotFoundError where there is no such directory.
    """
    if not path.is_dir():
        raise CheckpointNotFoundError(f"there is no directory {path}")
    if (path / SINGLE).is_file():
        return SafetensorsFile(path / SINGLE)
    if (path / INDEX).is_file():
        return ShardedCheckpoint(path / INDEX)
    raise CheckpointError(explain_no_weights(str(path), [p.name for p in path.iterdir()]))


def explain_no_weights(where: str, files: Iterable[str]) -> str:
    """Why there is nothing to read among `files`, and what to do about it."""
    names = sorted(name for name in files if "/" not in name)
    safetensors = [n for n in names if n.endswith(".safetensors")]
    others = sorted({n for n in names for pattern in _OTHER_FORMATS if Path(n).match(pattern)})
    if "adapter_config.json" in names and not others:
        return f"{where} holds an adapter, not a model: merge it into its base model and save that."
    if len(safetensors) > 1:
        return (
            f"{where} has {len(safetensors)} safetensors files ({', '.join(listed(safetensors, limit=4))}) and no "
            f"{INDEX} to say which belong together: download the index too, or save the model again with transformers' "
            "save_pretrained."
        )
    if safetensors:
        return f"{where} has no {SINGLE}. If {safetensors[0]} holds the whole model, rename it to {SINGLE}."
    if others:
        return (
            f"{where} has weights only as {', '.join(listed(others, limit=4))}; only safetensors is read, which cannot "
            "run code when opened. To convert it once, AutoModelForSequenceClassification.from_pretrained(model)"
            ".save_pretrained(directory) with transformers and torch writes safetensors; or, for a repository on "
            "the Hugging Face hub, look in its pull requests for the automatic safetensors conversion and pass "
            'revision="refs/pr/<number>".'
        )
    return f"{where} has no weights: neither {SINGLE} nor {INDEX}."


def read_index(index: Path) -> dict[str, str]:
    """{tensor name: file name} of a `model.safetensors.index.json`. Raises CheckpointError where it is not one."""
    try:
        content = _parse_json(index.read_bytes())
        weight_map = content["weight_map"]
        valid = all(isinstance(k, str) and isinstance(v, str) for k, v in weight_map.items())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            _pointer_advice(index) or f"{index} is not a safetensors index ({_reason(error)}): download it again."
        ) from None
    outside = sorted({f for f in weight_map.values() if valid and Path(f).name != f})
    if not valid or outside:
        raise CheckpointError(f"{index} must map tensor names to files beside it, not to {outside or 'other values'}.")
    return weight_map


def _disagreements(weight_map: dict[str, str], files: dict[str, SafetensorsFile]) -> list[str]:
    found: dict[str, list[str]] = {}
    for file, opened in files.items():
        for name in opened.names():
            found.setdefault(name, []).append(file)
    absent = [f"{name} is not in {f}" for name, f in weight_map.items() if f not in found.get(name, [])]
    unlisted = [f"{name}, in {fs[0]}, is not in the index" for name, fs in found.items() if name not in weight_map]
    twice = [f"{name} is in {' and in '.join(fs)}" for name, fs in found.items() if len(fs) > 1]
    return absent + unlisted + twice


def _read_header(path: Path, read: Callable[[int], bytes], size: int) -> dict[str, _Entry]:
    """The header's entries, checked: known dtypes, sizes that fit shapes, data that fill the file without holes."""

    def broken(why: str) -> CheckpointError:
        return CheckpointError(
            f"{path} is truncated or not a safetensors file ({why}): delete it and download or save it again."
        )

    prefix = read(8)
    length = int.from_bytes(prefix, "little")
    if len(prefix) < 8 or length > min(_MAX_HEADER, size - 8):
        pointer = _pointer_advice(path)
        raise CheckpointError(pointer) if pointer else broken(f"its {size} bytes cannot hold the header it announces")
    try:
        header = _parse_json(read(length))
        header.pop("__metadata__", None)
        raw = {name: _raw_entry(info) for name, info in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise broken(f"its header: {_reason(error)}") from None

    unknown = [f"{name} ({dtype})" for name, (dtype, *_) in raw.items() if dtype not in _DTYPES]
    if unknown:
        raise CheckpointError(
            f"{path} has tensors of a dtype that is not read: {', '.join(listed(unknown))}. "
            "If the checkpoint is quantised, use the one it was made from."
        )
    start, cursor, entries = 8 + length, 0, {}
    for name, (dtype, shape, begin, end) in sorted(raw.items(), key=lambda item: item[1][2:]):
        entries[name] = entry = _Entry(_DTYPES[dtype], shape, start + begin)
        if begin != cursor or end != begin + entry.nbytes:
            raise broken(f"tensor {name} of shape {shape} and dtype {dtype} at bytes {begin} to {end} after {cursor}")
        cursor = end
    if start + cursor != size:
        raise broken(f"it has {size} bytes, its header describes {start + cursor}")
    return {name: entries[name] for name in raw}


def _raw_entry(info: Mapping[str, Any]) -> tuple[str, tuple[int, ...], int, int]:
    begin, end = info["data_offsets"]
    shape = tuple(info["shape"])
    if not all(isinstance(n, int) and n >= 0 for n in (*shape, begin, end)):
        raise ValueError("a size that is no natural number")
    return str(info["dtype"]), shape, begin, end


def _parse_json(data: bytes) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        for key, value in pairs:
            if key in seen:
                raise ValueError(f"{key} appears twice")
            seen[key] = value
        return seen

    return json.loads(data, object_pairs_hook=unique)


def _pointer_advice(path: Path) -> str | None:
    with path.open("rb") as file:
        if not file.read(len(_LFS_POINTER)).startswith(_LFS_POINTER):
            return None
    return f"{path} is a git-lfs pointer, not the file itself: run `git lfs pull` in {path.parent}."


def _reason(error: Exception) -> str:
    return f"no {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__

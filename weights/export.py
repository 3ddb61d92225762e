"""Tensors -> safetensors files as transformers writes them: one, or shards with an index."""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Shaped
from safetensors.numpy import save_file

from weights.source import INDEX, SINGLE

SHARD_BYTES = 4 << 30


def save_tensors(
    folder: Path, tensors: Iterable[tuple[str, Shaped[np.ndarray, "..."]]], *, shard_bytes: int = SHARD_BYTES
) -> None:
    """Writes named tensors in their own dtypes; no more than one shard of them is in memory.

    Args:
        folder: an existing directory.
        tensors: names and values, taken one by one.
        shard_bytes: a file's largest size, unless a single tensor is larger.
    """
    files: list[tuple[Path, list[str]]] = []
    waiting: dict[str, Shaped[np.ndarray, ...]] = {}
    size = total = 0

    def write() -> None:
        path = folder / f"shard-{len(files)}"
        save_file(waiting, path, {"format": "pt"})
        files.append((path, list(waiting)))
        waiting.clear()

    for name, array in tensors:
        if waiting and size + array.nbytes > shard_bytes:
            write()
            size = 0
        waiting[name] = np.ascontiguousarray(array)
        size, total = size + array.nbytes, total + array.nbytes
    write()
    if len(files) == 1:
        files[0][0].rename(folder / SINGLE)
        return
    weight_map: dict[str, str] = {}
    for number, (path, names) in enumerate(files, start=1):
        final = f"model-{number:05d}-of-{len(files):05d}.safetensors"
        path.rename(folder / final)
        weight_map |= dict.fromkeys(names, final)
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / INDEX).write_text(json.dumps(index, indent=2), encoding="utf-8")

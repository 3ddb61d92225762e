"""How much host memory a load takes at its worst."""

import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from safetensors.numpy import save_file

from weights import Rule, RuleTable, load, open_checkpoint
from weights.file_table import FileTable

LAYERS, ROWS, COLUMNS = 24, 1024, 1024
ROW = ROWS * COLUMNS * 4  # bytes of one layer's tensor, float32
STACK = LAYERS * ROW
TOTAL = 2 * STACK
VOCABULARY, EMBED = 32 * 1024, 1024
EMBEDDING = VOCABULARY * EMBED * 4
TABLE = RuleTable(tuple(Rule(f"layers.{{layer}}.{name}", f"h.{{layer}}.{name}") for name in ("up", "down")))


def target(*, stacked: bool) -> dict[str, jax.ShapeDtypeStruct]:
    if stacked:
        return {f"layers.{n}": jax.ShapeDtypeStruct((LAYERS, ROWS, COLUMNS), np.float32) for n in ("up", "down")}
    row = jax.ShapeDtypeStruct((ROWS, COLUMNS), np.float32)
    return {f"layers.{i}.{n}": row for i in range(LAYERS) for n in ("up", "down")}


def write(directory: Path) -> Path:
    """A checkpoint of `TOTAL` bytes in two shards."""
    import json

    weight_map: dict[str, str] = {}
    for name in ("up", "down"):
        tensors = {f"h.{i}.{name}": np.full((ROWS, COLUMNS), i, np.float32) for i in range(LAYERS)}
        save_file(tensors, directory / f"{name}.safetensors")
        weight_map |= dict.fromkeys(tensors, f"{name}.safetensors")
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return directory


def write_embedding(directory: Path) -> Path:
    """A checkpoint of one tensor of `EMBEDDING` bytes."""
    save_file({"embed": np.ones((VOCABULARY, EMBED), np.float32)}, directory / "model.safetensors")
    return directory


class Greedy:
    """What the loader must not be: a source that holds everything before the first tensor is asked for."""

    def __init__(self, path: Path) -> None:
        source = open_checkpoint(path)
        self.arrays = {name: np.array(source.read(name)) for name in source.names()}

    def names(self) -> list[str]:
        return list(self.arrays)

    def shape(self, name: str) -> tuple[int, ...]:
        return self.arrays[name].shape

    def dtype(self, name: str) -> np.dtype:
        return self.arrays[name].dtype

    def read(self, name: str) -> np.ndarray:
        return self.arrays[name]

    def release(self, name: str) -> None:
        del name


def copy_to_device(path: str, array: np.ndarray) -> jax.Array:
    """What an accelerator does: the array on the device shares nothing with the host's."""
    del path
    return jax.numpy.array(array, copy=True)


def allocated_beyond(kept: int, action: Callable[[], object]) -> int:
    """Bytes that numpy held at the worst moment of `action`, less `kept`."""
    tracemalloc.start()
    try:
        result = action()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    del result
    return peak - kept


def resident() -> dict[str, int]:
    """The process's resident bytes, now and at the worst since the last reset."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {key: int(lines[key].split()[0]) * 1024 for key in ("VmRSS", "VmHWM")}


def main(path: str, source: str, layout: str) -> None:
    """Loads and prints by how many bytes the resident memory rose above its start, at its worst and at the end."""
    jax.block_until_ready(copy_to_device("", np.ones((64, 64), np.float32)))  # the backend is up
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts anew
    before = resident()["VmRSS"]
    opened = Greedy(Path(path)) if source == "greedy" else open_checkpoint(Path(path))
    spec, rules = jax.ShapeDtypeStruct((VOCABULARY, EMBED), np.float32), RuleTable((Rule("embed", "embed"),))
    if layout == "embedding":
        # As on CPU: the loader's own buffer becomes the weight.
        weights = load(opened, rules, {"embed": spec})
    elif layout == "in file":
        weights = load(opened, rules, {"embed": spec}, in_file=("embed",))
        table = weights["embed"]
        assert isinstance(table, FileTable)
        for first in range(0, VOCABULARY, 512):
            table.rows(np.arange(first, first + 512))
    else:
        weights = load(opened, TABLE, target(stacked=layout == "stacked"), put=copy_to_device)
    after = resident()
    print(after["VmHWM"] - before, after["VmRSS"] - before)
    del weights


if __name__ == "__main__":
    main(*sys.argv[1:])

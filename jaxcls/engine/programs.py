"""Compiled steps in files: made by `jaxcls compile --output`, loaded where the device is."""

import hashlib
import json
import pickle
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
from jax.experimental import serialize_executable

from jaxcls.engine.checkpoint import Checkpoint
from jaxcls.engine.load import AbstractModel
from jaxcls.engine.paging import PoolShape
from jaxcls.engine.request import Task
from jaxcls.errors import ConfigError
from jaxcls.layers.packed import PackedBatch
from jaxcls.pooling.pooler import PoolerOutput

MANIFEST = "manifest.json"
_SUFFIX = ".program"


def describe(checkpoint: Checkpoint, model: AbstractModel, pool: PoolShape | None, device_kind: str) -> dict[str, str]:
    """What has to be equal where programs are made and where they run, by the name of what it is."""
    poolers = [repr(checkpoint.pooler(task)) for task in checkpoint.tasks]
    config = json.dumps([checkpoint.values, poolers], sort_keys=True, default=str)
    shapes = [(path, spec.shape, str(spec.dtype)) for path, spec in sorted(model.target.items())]
    return {
        "device": device_kind,
        "jax": jax.__version__,
        "jaxcls": version("jaxcls"),
        "architecture": checkpoint.name,
        "config.json and pooling": hashlib.sha256(config.encode()).hexdigest()[:16],
        "weights": hashlib.sha256(repr(shapes).encode()).hexdigest()[:16],
        "dtype": str(model.dtype),
        "quantization": str(model.quantization),
        "pool of pages": str(None if pool is None else pool.shape),
        "layers": "stacked" if model.stacked else "unrolled",
        "token embedding": model.token_embedding,
    }


def file_name(task: Task, batch: PackedBatch) -> str:
    """Where the program of a batch's shape lies."""
    rows = "+".join(f"{count}x{length}" for count, length in batch.row_groups)
    unseen = "" if batch.attended is None else "-unseen"
    pages = "" if batch.tables is None else f"-{batch.tables.pages.shape[1]}pages"
    return f"{task}-{rows}-{len(batch.starts)}{unseen}{pages}{_SUFFIX}"


def save(path: Path, compiled: Any) -> None:
    """Writes one compiled step."""
    payload, _, _ = serialize_executable.serialize(compiled)
    path.write_bytes(payload)


class SavedPrograms:
    """A directory of compiled steps of one model.

    Loading a program runs what is in the file: take only directories that you, or somebody you trust, have written.

    Raises:
        ConfigError: there is none, or its programs are of another model or device; says what differs.
    """

    def __init__(self, directory: str | Path, wanted: dict[str, str]):
        self._directory = Path(directory)
        manifest = self._directory / MANIFEST
        if not manifest.is_file():
            raise ConfigError(f"{directory} has no {MANIFEST}: it is not a directory of `jaxcls compile --output`")
        found = json.loads(manifest.read_text())
        different = [f"{key} ({found.get(key)}, here {wanted[key]})" for key in wanted if found.get(key) != wanted[key]]
        if different:
            raise ConfigError(f"the programs in {directory} are for another {', '.join(different)}: compile them again")

    def load(self, task: Task, batch: PackedBatch, num_weights: int) -> Any:
        """The program of a batch's shape; None if there is none.

        Raises:
            ConfigError: a file that is damaged.
        """
        path = self._directory / file_name(task, batch)
        if not path.is_file():
            return None
        pages = None if batch.tables is None else 0
        arguments = ([0] * num_weights, [0] * len(jax.tree.leaves(batch)), pages)
        in_tree, out_tree = jax.tree.structure((arguments, {})), jax.tree.structure((PoolerOutput(0, 0), pages))  # pyright: ignore[reportArgumentType]
        try:
            return serialize_executable.deserialize_and_load(
                path.read_bytes(), in_tree, out_tree, execution_devices=jax.devices()[:1]
            )
        except (pickle.UnpicklingError, EOFError, ValueError, jax.errors.JaxRuntimeError) as error:
            raise ConfigError(f"{path} cannot be loaded: {error}") from error

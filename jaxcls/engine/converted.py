"""Converted weights: a model directory of its own (`jaxcls convert`), and the cache of hub models."""

import json
import shutil
from pathlib import Path
from typing import Unpack

import jax

from jaxcls.config.engine import EngineConfig, EngineOptions, engine_config
from jaxcls.engine.checkpoint import Checkpoint, open_checkpoint
from jaxcls.engine.load import (
    AbstractModel,
    abstract_model,
    open_source,
    private_directory,
    read_all_but_table,
    read_weights,
    rule_table,
    user_cache,
)
from jaxcls.errors import ConfigError
from weights import cache
from weights.loader import Weights

# The entry of converted weights inside a model directory.
ENTRY = "jaxcls_weights"
_NOT_COPIED = {"config.json", "model.safetensors.index.json"}
_COPIED = (".json", ".txt", ".model", ".jinja", ".metadata")


def reads_files(checkpoint: Checkpoint, options: EngineConfig) -> bool:
    """Whether `load_weights` will read the checkpoint's own files, for programs that are compiled here."""
    converted = (checkpoint.path / ENTRY).is_dir() and options.load_format == "auto"
    kept = _cache_directory(checkpoint, options) is not None
    return not (converted or kept or options.load_format == "dummy" or options.programs_dir is not None)


def load_weights(checkpoint: Checkpoint, model: AbstractModel, options: EngineConfig) -> Weights:
    """The model's parameters on the device, and what of them is left in a file."""
    if model.table_in_file:
        return read_all_but_table(checkpoint, model, options)
    return _load_arrays(checkpoint, model, options)


def _load_arrays(checkpoint: Checkpoint, model: AbstractModel, options: EngineConfig) -> dict[str, jax.Array]:
    """All parameters: from converted weights where there are any, else from the checkpoint."""
    entry = checkpoint.path / ENTRY
    if entry.is_dir() and options.load_format == "auto":
        _check_layout(entry, model)
        return cache.restore(entry, model.target)
    directory = _cache_directory(checkpoint, options)
    if directory is None:
        return read_weights(checkpoint, model, options)
    private_directory(directory)
    table = rule_table(checkpoint, open_source(checkpoint).names())
    how = {"head_init": options.head_init, "seed": options.seed}
    key = cache.content_key(checkpoint.path, table, model.target, options=how, folders=checkpoint.weight_folders)
    build = lambda: read_weights(checkpoint, model, options)  # noqa: E731
    return cache.restore_or_build(directory / key, model.target, build, {"model": str(options.model)})


def _cache_directory(checkpoint: Checkpoint, options: EngineConfig) -> Path | None:
    """Where this model's converted weights are kept; None: nowhere."""
    if not checkpoint.is_hub or options.weights_cache_dir is False or options.load_format != "auto":
        return None
    if options.weights_cache_dir is not None:
        return Path(options.weights_cache_dir)
    # On CPU, converting while reading safetensors is several times faster than restoring (benchmarks/load_memory.py).
    return None if jax.default_backend() == "cpu" else user_cache("weights")


def convert(model: str | Path, output: str | Path, **options: Unpack[EngineOptions]) -> Path:
    """Writes a directory that `LLM` loads without converting: config, tokenizer, and weights as they lie in memory.

    The weights are those of the given dtype, quantization and layer layout, for the kind of device this runs on unless
    the options say otherwise. Overrides of config.json become part of it.

    Args:
        model: as for `LLM`.
        output: a directory that does not exist or is empty.
        **options: as for `LLM`.

    Returns:
        The output directory.

    Raises:
        ConfigError: the output is not empty, or options that `LLM` would refuse.
        CheckpointError: a checkpoint that `LLM` would refuse.
    """
    directory = empty_directory(output)
    config = engine_config(model, dict(options))
    checkpoint = open_checkpoint(config)
    abstract = abstract_model(checkpoint, config)
    arrays = _load_arrays(checkpoint, abstract, config)
    write_files(checkpoint, directory)
    cache.save(directory / ENTRY, arrays, layout(abstract))
    return directory


def empty_directory(output: str | Path) -> Path:
    """The output of a conversion. Raises ConfigError if there is something in it."""
    directory = Path(output)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ConfigError(f"{directory} exists and is not an empty directory; choose another output")
    return directory


def write_files(checkpoint: Checkpoint, directory: Path) -> None:
    """Makes the directory, with config.json as overridden, the tokenizer and the other small files."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(checkpoint.values, indent=2), encoding="utf-8")
    for file in checkpoint.path.rglob("*"):
        name = file.relative_to(checkpoint.path)
        inside = name.parts[0] not in (ENTRY, ".git") and str(name) not in _NOT_COPIED
        if file.is_file() and file.suffix in _COPIED and inside and len(name.parts) <= 2:
            (directory / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(file, directory / name)


def layout(model: AbstractModel) -> dict[str, str | None]:
    """The arguments of `LLM` that weights have been converted to."""
    layers = "stacked" if model.stacked else "unrolled"
    return {"dtype": str(model.dtype), "quantization": model.quantization, "layer_layout": layers}


def _check_layout(entry: Path, model: AbstractModel) -> None:
    made, wanted = cache.read_metadata(entry), layout(model)
    if made != wanted:
        arguments = ", ".join(f"{key}={value!r}" for key, value in made.items())
        raise ConfigError(
            f"{entry.parent} holds weights converted to {arguments}, but this LLM needs {wanted}: pass {arguments} to "
            "LLM, or convert the original checkpoint again"
        )

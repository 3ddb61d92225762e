"""Checkpoints to arrays: strict, lazy, bounded in memory. Importing it imports neither jax nor huggingface_hub."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from weights.accounting import check_names, total_bytes
from weights.dummy import DummySource, random_tensor
from weights.errors import CheckpointError, CheckpointNotFoundError, MissingHeadError
from weights.hub import Checkpoint, resolve
from weights.rules import Rule, RuleTable
from weights.source import Source, open_checkpoint

if TYPE_CHECKING:
    from weights.loader import load, load_dummy

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "CheckpointNotFoundError",
    "DummySource",
    "MissingHeadError",
    "Rule",
    "RuleTable",
    "Source",
    "check_names",
    "load",
    "load_dummy",
    "open_checkpoint",
    "random_tensor",
    "resolve",
    "total_bytes",
]


def __getattr__(name: str) -> Any:
    if name in ("load", "load_dummy"):  # the loader imports jax
        return getattr(import_module("weights.loader"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

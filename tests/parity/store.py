"""Goldens on disk: one small JSON file a case. Neither torch nor jax is needed to read one."""

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from tests.parity.cases import Case, Prompt
from weights.dummy import random_tensor

GOLDENS = Path(__file__).parent / "goldens"

Shapes = dict[str, tuple[int, ...]]

_LAYER = re.compile(r"(?<=\.)\d+(?=\.)")


@dataclasses.dataclass(frozen=True)
class Golden:
    """A case, the tensors that transformers saves for it, and its logits there: float32 [prompts, labels]."""

    case: Case
    shapes: Shapes
    logits: np.ndarray
    made_with: str

    @property
    def path(self) -> Path:
        """The file of this golden."""
        return GOLDENS / f"{self.case.name}.json"

    def write(self) -> None:
        """Writes the file: one key a line, values compact."""
        layers, tensors = compress(self.shapes)
        fields = {
            "name": self.case.name,
            "seed": self.case.seed,
            "made_with": self.made_with,
            "attention": self.case.attention,
            "config": self.case.config,
            "layers": layers,
            "tensors": tensors,
            "prompts": [[list(p.ids)] if p.types is None else [list(p.ids), list(p.types)] for p in self.case.prompts],
            # The shortest decimals that read back as the same float32.
            "logits": [[float(str(value)) for value in row] for row in self.logits.astype(np.float32)],
        }
        lines = [f"{json.dumps(key)}: {json.dumps(value, separators=(',', ':'))}" for key, value in fields.items()]
        self.path.write_text("{" + ",\n ".join(lines) + "}\n")


def read_golden(path: Path) -> Golden:
    """The golden in a file.

    Raises:
        ValueError: the seed in the file is not that of its name.
    """
    stored = json.loads(path.read_text())
    prompts = tuple(Prompt(*map(tuple, parts)) for parts in stored["prompts"])
    case = Case(stored["name"], stored["config"], prompts, stored["attention"])
    if case.seed != stored["seed"]:
        raise ValueError(f"{path}: seed {stored['seed']} does not belong to the name {case.name!r}")
    logits = np.array(stored["logits"], np.float32)
    return Golden(case, expand(stored["layers"], stored["tensors"]), logits, stored["made_with"])


def all_goldens() -> list[Golden]:
    """Every committed golden, sorted by name."""
    return [read_golden(path) for path in sorted(GOLDENS.glob("*.json"))]


def compress(shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, dict[str, list[int]]]:
    """Number of layers, and shapes by template: a layer's number becomes "{layer}"."""
    numbers = [int(match[0]) for match in map(_LAYER.search, shapes) if match]
    layers = max(numbers, default=-1) + 1
    tensors = {_LAYER.sub("{layer}", name, count=1): list(shape) for name, shape in shapes.items()}
    if expand(layers, tensors) != dict(shapes):  # layers that differ are written out
        return 0, {name: list(shape) for name, shape in shapes.items()}
    return layers, tensors


def expand(layers: int, tensors: Mapping[str, list[int]]) -> Shapes:
    """The inverse of `compress`."""
    return {
        name.replace("{layer}", str(layer)): tuple(shape)
        for name, shape in tensors.items()
        for layer in range(layers if "{layer}" in name else 1)
    }


def write_checkpoint(config: Mapping[str, Any], shapes: Shapes, seed: int, folder: Path) -> None:
    """config.json as a user has it, and model.safetensors whose tensors are functions of seed, name and shape."""
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    tensors = {name: random_tensor(seed, name, shape) for name, shape in shapes.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

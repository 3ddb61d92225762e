"""Goldens on disk: one small JSON file a case. Neither torch nor jax is needed to read one."""

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from tests.parity.cases import Case, Prompt
from weights.dummy import random_tensor

GOLDENS = Path(__file__).parent / "goldens"

Shapes = dict[str, tuple[int, ...]]

_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")
_NUMBERS = re.compile(r"\{(layer|[\d,-]+)\}")


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
    """Number of layers, and shapes by template.

    A layer's number becomes "{layer}"; where the layers differ, those that have the tensor: "{0-2,5}". So do the
    numbers within a layer, of experts.
    """
    numbers = [int(match[0]) for match in map(_NUMBER.search, shapes) if match]
    layers = max(numbers, default=-1) + 1
    merged = _merge(shapes, last=True)
    tensors = {_NUMBER.sub("{layer}", name, count=1): list(shape) for name, shape in merged.items()}
    if expand(layers, tensors) != dict(shapes):
        tensors = {name: list(shape) for name, shape in _merge(merged, last=False).items()}
    return layers, tensors


def _merge(shapes: Mapping[str, tuple[int, ...]], *, last: bool) -> Shapes:
    """Names that differ in their first number, or in the last of several, as one name each."""
    groups: dict[tuple[str, str, tuple[int, ...]], list[int]] = {}
    for name, shape in shapes.items():
        found = list(_NUMBER.finditer(name))[1:][-1:] if last else list(_NUMBER.finditer(name))[:1]
        start, end = found[0].span() if found else (len(name), len(name))
        groups.setdefault((name[:start], name[end:], shape), []).extend(int(match[0]) for match in found)
    return {before + _ranges(numbers) + after: shape for (before, after, shape), numbers in groups.items()}


def _ranges(numbers: list[int]) -> str:
    """[0, 1, 2, 5] -> "{0-2,5}"; one number as it is."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    text = ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
    return text if len(numbers) < 2 else f"{{{text}}}"


def expand(layers: int, tensors: Mapping[str, list[int]]) -> Shapes:
    """The inverse of `compress`."""
    return {name: tuple(shape) for template, shape in tensors.items() for name in _names(layers, template)}


def _names(layers: int, template: str) -> Iterator[str]:
    match = _NUMBERS.search(template)
    if match is None:
        yield template
        return
    ranges = f"0-{layers - 1}" if match[1] == "layer" else match[1]
    for first, *rest in (part.split("-") for part in ranges.split(",")):
        for number in range(int(first), int(rest[0] if rest else first) + 1):
            yield from _names(layers, template[: match.start()] + str(number) + template[match.end() :])


def write_checkpoint(config: Mapping[str, Any], shapes: Shapes, seed: int, folder: Path) -> None:
    """config.json as a user has it, and model.safetensors whose tensors are functions of seed, name and shape."""
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    tensors = {name: random_tensor(seed, name, shape) for name, shape in shapes.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

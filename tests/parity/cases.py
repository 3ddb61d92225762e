"""The declarative list of parity cases: tiny random models that together toggle every flag that changes a result.

A case is what a user has: the text of a config.json, and prompts as token ids. Weights are a function of the
seed and of each tensor's name and shape, so that a golden stores neither weights nor anything derived from them.
"""

import importlib
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

DROP = object()
"""An override with this value removes the key from the base configuration."""


@dataclass(frozen=True)
class Prompt:
    """Token ids of one sequence and, for models with segment embeddings, their types."""

    ids: tuple[int, ...]
    types: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Case:
    """One tiny model: `config` is its config.json as written to disk, in the spelling a checkpoint would use."""

    name: str
    config: Mapping[str, Any] = field(hash=False)
    prompts: tuple[Prompt, ...]
    # Transformers runs every case with its eager attention, except where only the default one honours the flag.
    attention: str = "eager"

    @property
    def architecture(self) -> str:
        return self.config["architectures"][0]

    @property
    def seed(self) -> int:
        """A small number that depends on the name alone: adding a case changes no other."""
        return zlib.crc32(self.name.encode()) % 10_000


Changes = Mapping[str, Any]
Axis = Sequence[Changes]


@dataclass(frozen=True)
class Space:
    """The configurations of one network that random cases are drawn from: its base with one change of every axis.

    Keys that depend on each other, as numbers of heads and widths do, lie on one axis. Where two axes change a key, the
    later one does.
    """

    name: str
    base: Mapping[str, Any]
    axes: tuple[Axis, ...]
    attention: str = "eager"


def independent(**choices: Sequence[Any]) -> tuple[Axis, ...]:
    """An axis for each key."""
    return tuple([{key: value} for value in values] for key, values in choices.items())


def tasks(base: Mapping[str, Any]) -> Axis:
    """Labels of sequences and of tokens."""
    name = base["architectures"][0]
    return [{"architectures": [n]} for n in (name, name.replace("ForSequence", "ForToken"))]


def override(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration `base` with `changes` applied; `DROP` removes a key."""
    merged = {**base, **changes}
    return {key: value for key, value in merged.items() if value is not DROP}


def make_prompts(
    name: str, config: Mapping[str, Any], lengths: tuple[int, ...], *, pads: bool = False, types: bool = False
) -> tuple[Prompt, ...]:
    """Random sequences of the given lengths, a function of the case's name.

    With `pads`, sequences that contain the padding id at the start, in the middle, at the end and everywhere are
    added: a model gets them when text spells the padding token, or when it doubles as the end of the text.
    With `types`, each sequence has segment types: first all 0, then pairs 0..01..1, then a free mixture.
    """
    rng = np.random.default_rng(zlib.crc32(f"prompts of {name}".encode()))
    pad = config.get("pad_token_id")
    words = [i for i in range(config["vocab_size"]) if i != pad]
    sequences = [rng.choice(words, size=length).tolist() for length in lengths]
    if pads:
        middle, end, start, only = (rng.choice(words, size=size).tolist() for size in (8, 6, 5, 3))
        middle[3:5] = [pad, pad]
        end[4:] = [pad, pad]
        start[0] = pad
        only[:] = [pad] * 3
        sequences += [middle, end, start, only]
    if not types:
        return tuple(Prompt(tuple(ids)) for ids in sequences)
    kinds = config["type_vocab_size"]
    prompts = [Prompt(tuple(ids)) for ids in sequences]
    for ids in sequences:
        split = int(rng.integers(0, len(ids) + 1))
        prompts.append(Prompt(tuple(ids), (0,) * split + (kinds - 1,) * (len(ids) - split)))
    mixed = tuple(rng.integers(0, kinds, size=len(sequences[-1])).tolist())
    return (*prompts, Prompt(tuple(sequences[-1]), mixed))


def all_cases() -> list[Case]:
    """Every case, sorted by name; names are unique."""
    cases = sorted((case for module in _modules() for case in module.cases()), key=lambda case: case.name)
    if len({case.name for case in cases}) != len(cases):
        raise ValueError("two parity cases have the same name")
    return cases


def all_spaces() -> list[Space]:
    """What random cases are drawn from: every network, in the order of the files."""
    return [space for module in _modules() for space in module.SPACES]


def _modules() -> Iterator[ModuleType]:
    for path in sorted(Path(__file__).parent.glob("*_cases.py")):
        yield importlib.import_module(f"tests.parity.{path.stem}")

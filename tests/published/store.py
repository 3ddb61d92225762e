"""Published checkpoints on disk: config.json, and the names and shapes of the tensors in the weights file.

`source` in each file says where these come from. `options` are the arguments of `LLM` that the checkpoint needs,
`renamed` where the published names differ from those that transformers saves today (patterns and what they become;
None: the file lacks the tensor),
`extra` what the file holds besides.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from tests.parity.store import Shapes, expand

PUBLISHED = Path(__file__).parent


@dataclasses.dataclass(frozen=True)
class Published:
    """One published checkpoint, without its weights."""

    path: Path
    model: str
    source: str
    options: dict[str, Any]
    config: dict[str, Any]
    renamed: list[list[str | None]]
    extra: dict[str, list[int]]
    layers: int
    tensors: dict[str, list[int]]

    @property
    def shapes(self) -> Shapes:
        """Every tensor in the file: name -> shape."""
        return {**expand(self.layers, self.tensors), **expand(0, self.extra)}

    @property
    def effective_config(self) -> dict[str, Any]:
        """config.json with the caller's overrides."""
        return {**self.config, **self.options.get("hf_overrides", {})}

    def write(self) -> None:
        """Writes the file: one key a line, values compact."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "path"}
        lines = [f"{json.dumps(key)}: {json.dumps(value, separators=(',', ':'))}" for key, value in fields.items()]
        self.path.write_text("{" + ",\n ".join(lines) + "}\n")


def all_published() -> list[Published]:
    """Every recorded checkpoint, sorted by name."""
    return [Published(path=path, **json.loads(path.read_text())) for path in sorted(PUBLISHED.glob("*.json"))]

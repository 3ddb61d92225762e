"""`python -m tests.published.record` writes the tensor names that transformers gives each recorded config.json.

The models are built on torch's meta device: no memory, no weights.
"""

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import AutoConfig
from transformers.core_model_loading import revert_weight_conversion

from tests.parity.assembled import RECIPES, assembled_shapes
from tests.parity.layouts import layout_of
from tests.parity.oracle import auto_class
from tests.parity.store import Shapes, compress
from tests.published.store import Published, all_published


def record(published: Published) -> Published:
    """The same checkpoint with its tensors filled in."""
    layers, tensors = compress(published_names(saved_names(published.effective_config), published.renamed))
    return dataclasses.replace(published, layers=layers, tensors=tensors)


def saved_names(config: Mapping[str, Any]) -> Shapes:
    """The tensors of a model of this configuration, in the layout of published files."""
    if config["architectures"][0] in RECIPES:
        return assembled_shapes(config)
    layout = layout_of(config)
    with TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps(layout.config))
        with torch.device("meta"):
            model = auto_class(config).from_config(AutoConfig.from_pretrained(folder))
    saved = revert_weight_conversion(model, model.state_dict())
    return layout.shapes({name: tuple(saved[name].shape) for name in sorted(saved)})


def published_names(shapes: Shapes, renamed: list[list[str | None]]) -> Shapes:
    """Shapes under the names that the published file has, without those of tensors that it lacks."""
    names = {name: _published_name(name, renamed) for name in shapes}
    return {published: shapes[name] for name, published in names.items() if published is not None}


def _published_name(name: str, renamed: list[list[str | None]]) -> str | None:
    for pattern, replacement in renamed:
        if replacement is not None:
            name = re.sub(str(pattern), replacement, name)
        elif re.search(str(pattern), name):
            return None
    return name


if __name__ == "__main__":
    for entry in all_published():
        record(entry).write()

"""`python -m tests.published.record` writes the tensor names that transformers gives each recorded config.json.

The models are built on torch's meta device: no memory, no weights.
"""

import dataclasses
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from transformers import AutoConfig
from transformers.core_model_loading import revert_weight_conversion

from tests.parity.layouts import layout_of
from tests.parity.oracle import auto_class
from tests.parity.store import Shapes, compress
from tests.published.store import Published, all_published


def record(published: Published) -> Published:
    """The same checkpoint with its tensors filled in."""
    config = {**published.config, **published.options.get("hf_overrides", {})}
    layout = layout_of(config)
    with TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps(layout.config))
        with torch.device("meta"):
            model = auto_class(config).from_config(AutoConfig.from_pretrained(folder))
    saved = revert_weight_conversion(model, model.state_dict())
    shapes = layout.shapes({name: tuple(saved[name].shape) for name in sorted(saved)})
    layers, tensors = compress(published_names(shapes, published.renamed))
    return dataclasses.replace(published, layers=layers, tensors=tensors)


def published_names(shapes: Shapes, renamed: list[list[str | None]]) -> Shapes:
    """Names as the published file has them; those renamed to None are dropped."""
    names = {}
    for name, shape in shapes.items():
        ending = next((pair for pair in renamed if name.endswith(str(pair[0]))), None)
        if ending is None:
            names[name] = shape
        elif ending[1] is not None:
            names[name.removesuffix(str(ending[0])) + ending[1]] = shape
    return names


if __name__ == "__main__":
    for entry in all_published():
        record(entry).write()

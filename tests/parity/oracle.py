"""The truth: transformers + torch on the CPU, float32, one sequence at a time.

One sequence at a time because only then is nothing but the sequence involved: no padding, no batch-wide length that a
dynamic rope would scale by.
"""

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import transformers
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedModel,
)
from transformers.utils import logging

from tests.parity.assembled import RECIPES, Assembled, assembled_shapes, load_assembled
from tests.parity.cases import Case, Prompt
from tests.parity.layouts import Layout, layout_of
from tests.parity.store import Golden, Shapes, write_checkpoint

MADE_WITH = f"transformers {transformers.__version__}, torch {torch.__version__.split('+')[0]}"

torch.set_num_threads(1)
logging.set_verbosity_error()
logging.disable_progress_bar()


def saved_shapes(config: Mapping[str, Any]) -> Shapes:
    """What transformers saves for a model of this configuration: name -> shape, tied duplicates dropped."""
    if config["architectures"][0] in RECIPES:
        return assembled_shapes(config)
    with TemporaryDirectory() as folder:
        config_file = Path(folder, "config.json")
        config_file.write_text(json.dumps(config))
        model = auto_class(config).from_config(AutoConfig.from_pretrained(folder), dtype=torch.float32)
        model.save_pretrained(folder)
        with safe_open(Path(folder, "model.safetensors"), "np") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in sorted(file.keys())}


def auto_class(config: Mapping[str, Any]) -> Any:
    """Transformers' class for the task that the architecture's name says."""
    name = config["architectures"][0]
    if name.endswith("Model"):
        return AutoModel
    return AutoModelForTokenClassification if "ForTokenClassification" in name else AutoModelForSequenceClassification


def load_model(folder: Path, *, attention: str) -> PreTrainedModel | Assembled:
    """The checkpoint in `folder` as transformers loads it: float32, for inference.

    Raises:
        ValueError: a tensor is missing, unexpected or misshapen.
    """
    config = json.loads((folder / "config.json").read_text())
    if config["architectures"][0] in RECIPES:
        return load_assembled(folder, attention=attention)
    # Eager experts: torch's grouped product takes widths that are multiples of four only.
    model, info = auto_class(config).from_pretrained(
        folder,
        dtype=torch.float32,
        attn_implementation=attention,
        experts_implementation="eager",
        output_loading_info=True,
    )
    problems = {what: found for what, found in info.items() if found}
    if problems:
        raise ValueError(f"transformers did not load every tensor: {problems}")
    return model.eval()


@torch.no_grad()
def run_model(model: PreTrainedModel | Assembled, prompts: Sequence[Prompt]) -> np.ndarray:
    """Logits of each prompt run alone, float32 [prompts, labels]; of token classifiers [tokens, labels]."""
    rotary = getattr(model.base_model, "rotary_emb", None)
    rows = []
    for prompt in prompts:
        if rotary is not None:
            # A dynamic rope remembers the longest sequence that it has seen; each one gets a fresh rope.
            model.base_model.rotary_emb = copy.deepcopy(rotary)
        ids = torch.tensor([prompt.ids])
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if prompt.types is not None:
            inputs["token_type_ids"] = torch.tensor([prompt.types])
        rows.append(np.atleast_2d(model(**inputs).logits[0].numpy()))
    return np.concatenate(rows)


def compute(case: Case, folder: Path) -> Golden:
    """The golden of a case, from live transformers; leaves the case's checkpoint in `folder`."""
    layout = layout_of(case.config)
    saved = saved_shapes(layout.config)
    shapes = layout.shapes(saved)
    write_checkpoint(case.config, shapes, case.seed, folder)
    with TemporaryDirectory() as name:
        theirs = folder if layout == Layout(case.config) else Path(name)
        if theirs != folder:
            tensors = layout.tensors(saved, load_file(folder / "model.safetensors"))
            (theirs / "config.json").write_text(json.dumps(layout.config))
            save_file(tensors, theirs / "model.safetensors", metadata={"format": "pt"})
        logits = run_model(load_model(theirs, attention=case.attention), case.prompts)
    return Golden(case, shapes, logits, MADE_WITH)

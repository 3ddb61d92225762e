"""Published config.json files are read without complaint, and the rules cover the published tensor names exactly."""

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from typing import Any

import jax
import pytest

from jaxcls.config.engine import engine_config
from jaxcls.engine.checkpoint import Checkpoint, open_checkpoint
from jaxcls.engine.load import abstract_model
from jaxcls.registry import architecture_names
from tests.parity.ours import layouts
from tests.parity.store import Shapes, expand
from tests.published.store import Published, all_published
from weights.accounting import check_names
from weights.errors import CheckpointError

ALL = all_published()
EMBEDDINGS = ("tok_embeddings.weight", "word_embeddings.weight", "embed_tokens.weight", "wte.weight")
# Where not every file has BERT's key: the keys of others, the first that there is.
OTHER_NAMES = {
    "num_hidden_layers": ("n_layer", "n_layers"),
    "max_position_embeddings": ("max_trained_positions", "n_positions"),
}
# What the code of an architecture says whatever config.json does.
FIXED: dict[str, dict[str, Any]] = {
    "InternLM2ForRewardModel": {"num_labels": 1, "pad_token_id": None},
    "LlamaBidirectionalForSequenceClassification": {"pad_token_id": None},
    "NomicBertForTokenClassification": {"pad_token_id": 0},
    "Qwen2ForRewardModel": {"num_labels": 1},
}

# One worker builds each model once.
pytestmark = pytest.mark.xdist_group("published")


@dataclasses.dataclass(frozen=True)
class Built:
    """A published checkpoint as jaxcls would run it: under eval_shape an 8B model costs nothing."""

    published: Published
    checkpoint: Checkpoint
    target: Mapping[str, jax.ShapeDtypeStruct]

    def check(self, shapes: Shapes) -> None:
        table = self.checkpoint.architecture.weights(self.checkpoint.config)
        check_names(shapes, table, self.target, head_init=self.published.options.get("head_init"))

    @property
    def config(self) -> dict[str, Any]:
        return self.published.effective_config


# Unrolled models have the same names once per layer: small ones are enough.
BUILDS = [(p, layouts(p.effective_config)[-1]) for p in ALL]
BUILDS += [(p, "unrolled") for p in ALL if p.layers <= 6 and (p, "unrolled") not in BUILDS]


@pytest.fixture(scope="module", params=BUILDS, ids=lambda build: f"{build[0].model}-{build[1]}")
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Built:
    published, layout = request.param
    folder = tmp_path_factory.mktemp("published")
    (folder / "config.json").write_text(json.dumps(published.config))
    options = engine_config(folder, {**published.options, "layer_layout": layout, "local_files_only": True})
    checkpoint = open_checkpoint(options)
    return Built(published, checkpoint, abstract_model(checkpoint, options).target)


def test_every_tensor_is_accounted_for(built: Built):
    built.check(built.published.shapes)


def test_missing_tensors_are_named(built: Built):
    # The head may be made.
    made = (
        ("bert.pooler.", "ernie.pooler.", "albert.pooler.", "head.") if "head_init" in built.published.options else ()
    )
    last = [
        name
        for name in expand(built.published.layers, built.published.tensors)
        if (found := re.search(r"\.(\d+)\.", name)) is None or int(found[1]) == built.published.layers - 1
    ]
    # Of a hundred experts alike, one.
    needed = [name for name in last if not name.startswith(made) and not re.search(r"experts\.[1-9]", name)]
    parts = max(2, math.ceil(len(needed) / 20))  # a message lists up to 20 of a kind
    for group in (needed[i::parts] for i in range(parts)):
        shapes = {name: shape for name, shape in built.published.shapes.items() if name not in group}
        with pytest.raises(CheckpointError) as caught:
            built.check(shapes)
        for name in group:
            modern = name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
            assert modern in str(caught.value)


def test_an_unknown_tensor_and_a_wrong_shape_are_named(built: Built):
    shapes = built.published.shapes
    name = next(name for name in shapes if name.endswith(EMBEDDINGS))
    rows, width = shapes[name]
    with pytest.raises(CheckpointError) as caught:
        built.check({**shapes, name: (rows + 1, width), "model.layers.0.mystery.weight": (3,)})
    assert name in str(caught.value)
    assert "mystery" in str(caught.value)


def test_what_the_config_says_arrives_in_the_model(built: Built):
    raw, config = built.config, built.checkpoint.config
    others = {key: next((raw[name] for name in names if name in raw), None) for key, names in OTHER_NAMES.items()}
    raw = {**others, "pad_token_id": None, **raw, **FIXED.get(raw["architectures"][0], {})}
    layers = raw["num_hidden_layers"]
    assert config.num_layers == layers
    assert built.published.layers == raw.get("num_hidden_groups", layers)
    assert config.vocab_size == raw["vocab_size"]
    assert config.num_labels == raw.get("num_labels", len(raw.get("id2label", (0, 1))))
    roberta = raw["model_type"] in ("camembert", "mpnet", "roberta", "xlm-roberta")
    assert config.max_len == raw["max_position_embeddings"] - (2 if roberta else 0)
    assert config.pad_token_id == raw["pad_token_id"]


def test_every_architecture_has_a_published_checkpoint():
    assert {p.effective_config["architectures"][0] for p in ALL} == set(architecture_names())

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
GPT2_NAMES = {"num_hidden_layers": "n_layer", "max_position_embeddings": "n_positions"}

# No published config.json of these was at hand; their tensor names are those that transformers saves, or the author's
# code, and are read in tests/parity.
UNRECORDED = frozenset(
    "DebertaForTokenClassification DebertaV2ForTokenClassification EuroBertForSequenceClassification "
    "EuroBertForTokenClassification GPT2ForTokenClassification Gemma2ForTokenClassification "
    "Gemma3TextForSequenceClassification GemmaForTokenClassification GteForSequenceClassification "
    "GteForTokenClassification GteNewForSequenceClassification InternLM2ForRewardModel "
    "JinaEmbeddingsV3ForSequenceClassification JinaEmbeddingsV3ForTokenClassification "
    "LlamaBidirectionalForSequenceClassification LlamaForTokenClassification MistralForTokenClassification "
    "ModernBertForTokenClassification NewForTokenClassification NomicBertForSequenceClassification "
    "NomicBertForTokenClassification Phi3ForSequenceClassification Phi3ForTokenClassification "
    "Qwen2ForProcessRewardModel Qwen2ForRewardModel Qwen2ForTokenClassification Qwen3ForTokenClassification".split()
)

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
BUILDS += [(p, "unrolled") for p in ALL if p.layers <= 12 and (p, "unrolled") not in BUILDS]


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
    made = ("bert.pooler.", "ernie.pooler.", "albert.pooler.") if "head_init" in built.published.options else ()
    last = [
        name
        for name in expand(built.published.layers, built.published.tensors)
        if (found := re.search(r"\.(\d+)\.", name)) is None or int(found[1]) == built.published.layers - 1
    ]
    needed = [name for name in last if not name.startswith(made)]
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
    raw = {**{other: raw[key] for other, key in GPT2_NAMES.items() if key in raw}, "pad_token_id": None, **raw}
    layers = raw["n_layers"] if raw["model_type"] == "distilbert" else raw["num_hidden_layers"]
    assert config.num_layers == layers
    assert built.published.layers == raw.get("num_hidden_groups", layers)
    assert config.vocab_size == raw["vocab_size"]
    assert config.num_labels == raw.get("num_labels", len(raw.get("id2label", (0, 1))))
    roberta = raw["model_type"] in ("camembert", "mpnet", "roberta", "xlm-roberta")
    assert config.max_len == raw["max_position_embeddings"] - (2 if roberta else 0)
    assert config.pad_token_id == raw["pad_token_id"]


def test_every_architecture_has_a_published_checkpoint():
    recorded = {p.effective_config["architectures"][0] for p in ALL}
    assert recorded | UNRECORDED == set(architecture_names())
    assert not recorded & UNRECORDED

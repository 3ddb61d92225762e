"""Checkpoints in a form that transformers does not read itself, and what it reads in their place.

A case has the config.json and the tensor names of published files. Where those belong to code that came with the files,
transformers' own class for the same network is the oracle: with its config, and the same tensors renamed and split.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.parity.cases import DROP, override

Shapes = dict[str, tuple[int, ...]]
Renames = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Layout:
    """One config for transformers, and what its tensors are called in the published files.

    Attributes:
        config: what transformers reads.
        renames: (regular expression, replacement), applied in turn to the names that transformers saves. Tensors that
            get one name are one tensor there, joined along the first axis in the order of the renames.
    """

    config: Mapping[str, Any]
    renames: Renames = ()

    def published(self, saved: Shapes) -> dict[str, list[str]]:
        """Published name -> the names that transformers saves for it, in order."""
        groups: dict[str, list[tuple[int, str]]] = {}
        for name in saved:
            renamed, first = name, len(self.renames)
            for index, (pattern, replacement) in enumerate(self.renames):
                renamed, count = re.subn(pattern, replacement, renamed)
                first = min(first, index) if count else first
            groups.setdefault(renamed, []).append((first, name))
        return {renamed: [name for _, name in sorted(parts)] for renamed, parts in groups.items()}

    def shapes(self, saved: Shapes) -> Shapes:
        """Shapes in the published files."""
        return {
            name: (sum(saved[part][0] for part in parts), *saved[parts[0]][1:])
            for name, parts in self.published(saved).items()
        }

    def tensors(self, saved: Shapes, published: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The published tensors as transformers saves them."""
        tensors: dict[str, np.ndarray] = {}
        for name, parts in self.published(saved).items():
            ends = np.cumsum([saved[part][0] for part in parts])[:-1]
            pieces = np.split(published[name], ends)
            tensors.update((part, np.ascontiguousarray(piece)) for part, piece in zip(parts, pieces, strict=True))
        return tensors


def layout_of(config: Mapping[str, Any]) -> Layout:
    """What transformers reads for a published config; mostly the config itself."""
    model_type = config["model_type"]
    if model_type == "new":
        return _new(config)
    if model_type == "nomic_bert" and "n_embd" in config:
        return _nomic(config)
    if model_type == "xlm-roberta" and "use_flash_attn" in config:
        return _flash(config)
    if "clf_pooling" in config:
        return Layout(override(config, {"clf_pooling": DROP, "classifier_pooling": config["clf_pooling"]}))
    return Layout(config)


def _new(config: Mapping[str, Any]) -> Layout:
    """GTE. Fixed NTK scaling is a linear one with another theta, mixed NTK one of longrope's, for all lengths alike."""
    architecture = re.sub(r"^(New|GteNew)For", "GteFor", config["architectures"][0])
    changes: dict[str, Any] = {"model_type": "gte", "architectures": [architecture]}
    scaling, theta = config["rope_scaling"], config["rope_theta"]
    half = config["hidden_size"] // config["num_attention_heads"] // 2
    if scaling is not None and "mixed_b" in scaling:
        factors = [scaling["factor"] ** ((i / half) ** scaling["mixed_b"]) for i in range(1, half + 1)]
        rope = {"rope_type": "longrope", "short_factor": factors, "long_factor": factors, "attention_factor": 1.0}
        changes |= {"rope_scaling": rope | {"factor": scaling["factor"]}}
    elif scaling is not None:
        changes |= {"rope_scaling": {"rope_type": "linear", "factor": scaling["factor"] ** (1 / half)}}
        changes |= {"rope_theta": theta * scaling["factor"]}
    return Layout(override(config, changes), ((r"^gte\.", "new."),))


NOMIC_KEYS = {
    "n_embd": "hidden_size",
    "n_head": "num_attention_heads",
    "n_inner": "intermediate_size",
    "n_layer": "num_hidden_layers",
    "layer_norm_epsilon": "layer_norm_eps",
    "max_trained_positions": "max_position_embeddings",
    "rotary_emb_base": "rope_theta",
}


def _nomic(config: Mapping[str, Any]) -> Layout:
    """NomicBERT under GPT-2's keys."""
    changes: dict[str, Any] = dict.fromkeys(NOMIC_KEYS, DROP)
    changes |= {theirs: config[ours] for ours, theirs in NOMIC_KEYS.items()}
    changes |= {
        "activation_function": DROP,
        "hidden_act": {"swiglu": "silu", "geglu": "gelu"}[config["activation_function"]],
    }
    if config["rotary_scaling_factor"] is not None:
        changes |= {"rope_scaling": {"rope_type": "dynamic", "factor": config["rotary_scaling_factor"]}}
    return Layout(override(config, changes), ((r"^nomic_bert\.", "bert."),))


def _flash(config: Mapping[str, Any]) -> Layout:
    """XLM-RoBERTa in the layout of Jina's code; with rotary positions it is JinaEmbeddingsV3."""
    changes: dict[str, Any] = {"auto_map": DROP, "use_flash_attn": DROP}
    if config["position_embedding_type"] == "rotary":
        architecture = config["architectures"][0].replace("XLMRoberta", "JinaEmbeddingsV3")
        changes |= {"model_type": "jina_embeddings_v3", "architectures": [architecture]}
        changes |= {"position_embedding_type": DROP, "rope_theta": config["rotary_emb_base"]}
        return Layout(override(config, changes))
    return Layout(
        override(config, changes),
        (
            (r"attention\.self\.query", "mixer.Wqkv"),
            (r"attention\.self\.key", "mixer.Wqkv"),
            (r"attention\.self\.value", "mixer.Wqkv"),
            (r"attention\.output\.dense", "mixer.out_proj"),
            (r"attention\.output\.LayerNorm", "norm1"),
            (r"intermediate\.dense", "mlp.fc1"),
            (r"\.output\.dense", ".mlp.fc2"),
            (r"\.output\.LayerNorm", ".norm2"),
            (r"embeddings\.LayerNorm", "emb_ln"),
            (r"encoder\.layer\.", "encoder.layers."),
        ),
    )

"""Architectures whose code transformers does not have: its own model of the same kind, and the author's head in torch.

A recipe says which of transformers' models computes the same, what the head is, and how the published tensors become
those of the two.
"""

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from tests.parity.store import Shapes

Config = Mapping[str, Any]
Tensors = Mapping[str, Tensor]


def _as_they_are(tensors: Tensors, config: Config) -> dict[str, Tensor]:
    del config
    return dict(tensors)


@dataclass(frozen=True)
class Recipe:
    """How an author's architecture is assembled.

    Attributes:
        model_type: transformers' model.
        head: makes the module after it, from the width and config.json.
        head_name: its name in the checkpoint.
        pool: logits [tokens, labels] or hidden states [tokens, D], the ids, config.json -> what is left of them.
        pool_first: whether `pool` is applied before the head.
        changes: of config.json, for transformers.
        published: the tensors of the assembled module -> those that the author publishes.
        assembled: the inverse.
    """

    model_type: str
    head: Callable[[int, Config], nn.Module]
    head_name: str
    pool: Callable[[Tensor, Tensor, Config], Tensor]
    pool_first: bool = False
    changes: Callable[[Config], dict[str, Any]] = lambda config: {}
    published: Callable[[Tensors, Config], dict[str, Tensor]] = _as_they_are
    assembled: Callable[[Tensors, Config], dict[str, Tensor]] = _as_they_are


class Assembled(nn.Module):
    """transformers' model and an author's head, called as transformers' classifiers are."""

    def __init__(self, recipe: Recipe, config: Config, attention: str):
        super().__init__()
        values = {k: v for k, v in config.items() if k not in ("architectures", "model_type")}
        values = copy.deepcopy(values) | recipe.changes(config)  # a rope is filled in where it lies
        self.model = AutoModel.from_config(
            AutoConfig.for_model(recipe.model_type, **values), dtype=torch.float32, attn_implementation=attention
        )
        self.add_module(recipe.head_name, recipe.head(config["hidden_size"], config))
        self.recipe, self.config_json = recipe, config

    @property
    def base_model(self) -> nn.Module:
        return self.model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> SimpleNamespace:
        hidden = self.model(input_ids, attention_mask=attention_mask).last_hidden_state[0]
        head = self.get_submodule(self.recipe.head_name)
        if self.recipe.pool_first:
            logits = head(self.recipe.pool(hidden, input_ids[0], self.config_json))
        else:
            logits = self.recipe.pool(head(hidden), input_ids[0], self.config_json)
        return SimpleNamespace(logits=logits[None])


class _Divided(nn.Linear):
    """A linear head whose logits are divided by a temperature."""

    def __init__(self, dim: int, num_labels: int, temperature: float):
        super().__init__(dim, num_labels, bias=False)
        self.temperature = temperature

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) / self.temperature


def _labels(config: Config) -> int:
    return len(config.get("id2label") or range(config.get("num_labels", 2)))


def _two_layers(num_labels: int) -> Callable[[int, Config], nn.Module]:
    return lambda dim, config: nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, num_labels))


def _last(rows: Tensor, ids: Tensor, config: Config) -> Tensor:
    return rows[-1]


def _last_but_padding(rows: Tensor, ids: Tensor, config: Config) -> Tensor:
    words = [i for i, token in enumerate(ids.tolist()) if token != config["pad_token_id"]]
    return rows[max(words, default=0)]


def _every(rows: Tensor, ids: Tensor, config: Config) -> Tensor:
    return rows


def _as_configured(rows: Tensor, ids: Tensor, config: Config) -> Tensor:
    return {"avg": rows.mean(0), "cls": rows[0], "last": rows[-1]}[config["pooling"]]


_INTERNLM2_NAMES = {
    "embed_tokens": "tok_embeddings",
    "self_attn.o_proj": "attention.wo",
    "mlp.gate_proj": "feed_forward.w1",
    "mlp.up_proj": "feed_forward.w3",
    "mlp.down_proj": "feed_forward.w2",
    "input_layernorm": "attention_norm",
    "post_attention_layernorm": "ffn_norm",
}


def _renamed(name: str, parts: Mapping[str, str]) -> str:
    for old, new in parts.items():
        name = name.replace(f".{old}.", f".{new}.")
    return name


def _internlm2_sizes(config: Config) -> tuple[int, list[int]]:
    """Number of groups, and the rows of q, k and v in one."""
    heads = config["num_attention_heads"]
    groups = config.get("num_key_value_heads") or heads
    width = config["hidden_size"] // heads
    return groups, [heads // groups * width, width, width]


def _internlm2_published(tensors: Tensors, config: Config) -> dict[str, Tensor]:
    groups, _ = _internlm2_sizes(config)
    out: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if ".q_proj." in name:
            parts = [tensors[name.replace("q_proj", f"{x}_proj")] for x in "qkv"]
            fused = torch.cat([part.unflatten(0, (groups, -1)) for part in parts], dim=1).flatten(0, 1)
            out[name.replace("self_attn.q_proj", "attention.wqkv")] = fused
        elif ".k_proj." not in name and ".v_proj." not in name:
            out[_renamed(name, _INTERNLM2_NAMES)] = tensor
    return out


def _internlm2_assembled(tensors: Tensors, config: Config) -> dict[str, Tensor]:
    groups, sizes = _internlm2_sizes(config)
    out: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if ".wqkv." in name:
            for x, part in zip("qkv", tensor.unflatten(0, (groups, -1)).split(sizes, dim=1), strict=True):
                out[name.replace("attention.wqkv", f"self_attn.{x}_proj")] = part.flatten(0, 1)
        else:
            out[_renamed(name, {theirs: ours for ours, theirs in _INTERNLM2_NAMES.items()})] = tensor
    return out


RECIPES = {
    "InternLM2ForRewardModel": Recipe(
        "llama",
        lambda dim, config: nn.Linear(dim, 1, bias=False),
        "v_head",
        _last,
        changes=lambda config: {"attention_bias": config.get("bias", True)},
        published=_internlm2_published,
        assembled=_internlm2_assembled,
    ),
    "LlamaBidirectionalForSequenceClassification": Recipe(
        "llama",
        lambda dim, config: _Divided(dim, _labels(config), config.get("temperature", 1.0)),
        "score",
        _as_configured,
        pool_first=True,
        changes=lambda config: {"is_causal": config.get("is_causal", False)},
    ),
    "Qwen2ForProcessRewardModel": Recipe("qwen2", _two_layers(2), "score", _every),
    "Qwen2ForRewardModel": Recipe("qwen2", _two_layers(1), "score", _last_but_padding),
}


def assembled_shapes(config: Config) -> Shapes:
    """The tensors that the author publishes for this configuration."""
    recipe = RECIPES[config["architectures"][0]]
    with torch.device("meta"):
        state = Assembled(recipe, config, "eager").state_dict()
    return {name: tuple(tensor.shape) for name, tensor in sorted(recipe.published(state, config).items())}


def load_assembled(folder: Path, *, attention: str) -> Assembled:
    """The checkpoint in `folder`; every tensor of it and of the module is used."""
    config = json.loads((folder / "config.json").read_text())
    recipe = RECIPES[config["architectures"][0]]
    model = Assembled(recipe, config, attention)
    model.load_state_dict(recipe.assembled(load_file(folder / "model.safetensors"), config))
    return model.eval()

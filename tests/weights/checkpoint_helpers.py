"""Small checkpoints on disk, written by the safetensors library, and models to load them into."""

import json
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np
from safetensors.numpy import save_file

from weights import Rule, RuleTable, random_tensor

LAYERS, DIM, MLP, VOCAB, CLASSES = 3, 8, 12, 20, 5

TABLE = RuleTable(
    rules=(
        Rule("embed.tokens.weight", "model.embed_tokens.weight"),
        Rule("layers.{layer}.attn_norm.weight", "model.layers.{layer}.input_layernorm.weight"),
        Rule(
            "layers.{layer}.attn.qk.weight",
            ("model.layers.{layer}.self_attn.q_proj.weight", "model.layers.{layer}.self_attn.k_proj.weight"),
            transform="concat",
        ),
        Rule("layers.{layer}.mlp.down.weight", "model.layers.{layer}.mlp.down_proj.weight", transform="transpose"),
        Rule("layers.{layer}.mlp.down.bias", "model.layers.{layer}.mlp.down_proj.bias", default="zeros"),
        Rule("final_norm.weight", "model.norm.weight"),
        Rule("head.score.weight", "score.weight"),
        Rule("head.score.bias", "score.bias", default="zeros"),
    ),
    ignore=("lm_head.*", "*.rotary_emb.inv_freq"),
    renames=((r"^(?!model\.|score\.|lm_head\.)", "model."), (r"\.gamma$", ".weight")),
)


def shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of a checkpoint that fits `TABLE` and `target`."""
    result: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (VOCAB, DIM)}
    for i in range(LAYERS):
        layer = f"model.layers.{i}."
        result[layer + "input_layernorm.weight"] = (DIM,)
        result[layer + "self_attn.q_proj.weight"] = (DIM, DIM)
        result[layer + "self_attn.k_proj.weight"] = (DIM // 2, DIM)
        result[layer + "mlp.down_proj.weight"] = (MLP, DIM)
    return {**result, "model.norm.weight": (DIM,), "score.weight": (CLASSES, DIM)}


def tensors(dtype: np.dtype | type = np.float32) -> dict[str, np.ndarray]:
    """Random values for `shapes()`."""
    return {name: random_tensor(0, name, shape).astype(dtype) for name, shape in shapes().items()}


def target(*, stacked: bool, dtype: np.dtype | type = np.float32) -> dict[str, jax.ShapeDtypeStruct]:
    """The abstract model that `shapes()` fills."""
    layer = {
        "attn_norm.weight": (DIM,),
        "attn.qk.weight": (DIM + DIM // 2, DIM),
        "mlp.down.weight": (DIM, MLP),
        "mlp.down.bias": (DIM,),
    }
    paths: dict[str, tuple[int, ...]] = {"embed.tokens.weight": (VOCAB, DIM)}
    for name, shape in layer.items():
        if stacked:
            paths[f"layers.{name}"] = (LAYERS, *shape)
        else:
            paths.update({f"layers.{i}.{name}": shape for i in range(LAYERS)})
    paths |= {"final_norm.weight": (DIM,), "head.score.weight": (CLASSES, DIM), "head.score.bias": (CLASSES,)}
    return {path: jax.ShapeDtypeStruct(shape, dtype) for path, shape in paths.items()}


def expected(given: Mapping[str, np.ndarray], *, stacked: bool) -> dict[str, np.ndarray]:
    """What loading `given` has to give, written out by hand rather than by the table."""
    result = {
        "embed.tokens.weight": given["model.embed_tokens.weight"],
        "final_norm.weight": given["model.norm.weight"],
    }
    result |= {"head.score.weight": given["score.weight"], "head.score.bias": np.zeros(CLASSES)}
    rows: dict[str, list[np.ndarray]] = {}
    for i in range(LAYERS):
        layer = f"model.layers.{i}."
        q, k = given[layer + "self_attn.q_proj.weight"], given[layer + "self_attn.k_proj.weight"]
        rows.setdefault("attn_norm.weight", []).append(given[layer + "input_layernorm.weight"])
        rows.setdefault("attn.qk.weight", []).append(np.concatenate([q, k]))
        rows.setdefault("mlp.down.weight", []).append(given[layer + "mlp.down_proj.weight"].T)
        rows.setdefault("mlp.down.bias", []).append(np.zeros(DIM))
    for name, values in rows.items():
        if stacked:
            result[f"layers.{name}"] = np.stack(values)
        else:
            result.update({f"layers.{i}.{name}": value for i, value in enumerate(values)})
    return result


def write_single(directory: Path, arrays: Mapping[str, np.ndarray]) -> Path:
    """Writes `model.safetensors`."""
    directory.mkdir(parents=True, exist_ok=True)
    save_file({name: np.asarray(a, order="C") for name, a in arrays.items()}, directory / "model.safetensors")
    return directory


def write_sharded(directory: Path, arrays: Mapping[str, np.ndarray], shards: int = 3) -> Path:
    """Writes `shards` files and their index."""
    directory.mkdir(parents=True, exist_ok=True)
    weight_map: dict[str, str] = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        part = {name: np.asarray(a, order="C") for name, a in list(arrays.items())[shard::shards]}
        save_file(part, directory / file)
        weight_map |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": sum(a.nbytes for a in arrays.values())}, "weight_map": weight_map}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    return directory

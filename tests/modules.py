"""sentence-transformers' files beside a checkpoint."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

LINEAR = "torch.nn.modules.linear.Identity"


def write_modules(
    folder: Path,
    *,
    pooling: str | None = "mean",
    dense: Sequence[tuple[dict[str, np.ndarray], str]] = (),
    normalize: bool = True,
    settings: dict[str, Any] | None = None,
    **dense_settings: Any,
) -> Path:
    """modules.json and what it names: Transformer, Pooling (None: none), Dense (tensors and activation), Normalize."""
    modules: list[tuple[str, str]] = [("", "Transformer")]
    if pooling is not None:
        modules.append(("1_Pooling", "Pooling"))
        modes = ("cls_token", "mean_tokens", "max_tokens", "lasttoken", "weightedmean_tokens")
        flags = {
            f"pooling_mode_{mode}": mode.removesuffix("_tokens").removesuffix("_token") == pooling for mode in modes
        }
        write_json(
            folder / "1_Pooling" / "config.json", {"word_embedding_dimension": 8, **flags, "include_prompt": True}
        )
    for tensors, activation in dense:
        name = f"{len(modules)}_Dense"
        modules.append((name, "Dense"))
        out_features, in_features = tensors["linear.weight"].shape
        config = {
            "in_features": in_features,
            "out_features": out_features,
            "bias": "linear.bias" in tensors,
            "activation_function": activation,
            **dense_settings,
        }
        write_json(folder / name / "config.json", config)
        save_file(tensors, folder / name / "model.safetensors")
    if normalize:
        modules.append((f"{len(modules)}_Normalize", "Normalize"))
    listed = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(modules)
    ]
    write_json(folder / "modules.json", listed)
    if settings is not None:
        write_json(folder / "config_sentence_transformers.json", settings)
    return folder


def write_json(path: Path, value: Any) -> None:
    """Writes a file, and its directory."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value))

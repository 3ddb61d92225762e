"""Which function turns logits into scores, and where that was decided."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxcls.config.labels import Labels
from jaxcls.errors import ConfigError

ActivationName = Literal["softmax", "sigmoid", "identity", "tanh", "relu", "normalize"]

# A shorter embedding is divided by this, as in torch.
LEAST_LENGTH = 1e-12

_FUNCTIONS: dict[str, Callable[[Float[Array, "*rows C"]], Float[Array, "*rows C"]]] = {
    "softmax": lambda z: jax.nn.softmax(z, axis=-1),
    "sigmoid": jax.nn.sigmoid,
    "identity": lambda z: z,
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "normalize": lambda z: z / jnp.maximum(jnp.linalg.norm(z, axis=-1, keepdims=True), LEAST_LENGTH),
}

# A closed table: a class path found in a downloaded file is never imported.
_TORCH_NAMES: dict[str, ActivationName] = {
    "torch.nn.modules.linear.Identity": "identity",
    "torch.nn.modules.activation.Sigmoid": "sigmoid",
    "torch.nn.modules.activation.Softmax": "softmax",
    "torch.nn.modules.activation.Tanh": "tanh",
    "torch.nn.modules.activation.ReLU": "relu",
}


@dataclasses.dataclass(frozen=True)
class ScoreActivation:
    """The activation and the reason for it, which `jaxcls info` shows; of embeddings, "normalize" to length 1."""

    name: ActivationName
    reason: str

    def __call__(self, logits: Float[Array, "*rows C"]) -> Float[Array, "*rows C"]:
        """Applies the activation over the last axis."""
        return _FUNCTIONS[self.name](logits)


def resolve_activation(config: Mapping[str, Any], labels: Labels) -> ScoreActivation:
    """The activation of a checkpoint: problem_type, then sentence-transformers' metadata, then the label count.

    Args:
        config: config.json after overrides.
        labels: its labels.

    Raises:
        ConfigError: metadata that names a function outside the closed table.
    """
    by_count: ActivationName = "sigmoid" if len(labels.names) < 2 else "softmax"
    match labels.problem_type:
        case "regression":
            return ScoreActivation("identity", "problem_type is regression")
        case "multi_label_classification":
            return ScoreActivation("sigmoid", "problem_type is multi_label_classification")
        case "single_label_classification":
            return ScoreActivation(by_count, "problem_type is single_label_classification")
        case None:
            pass
    key, path = _metadata(config)
    if path is None:
        reason = "one label" if len(labels.names) < 2 else f"{len(labels.names)} labels and no problem_type"
        return ScoreActivation(by_count, reason)
    if path not in _TORCH_NAMES:
        raise ConfigError(
            f"config.json: {key} = {path!r} is not one of {', '.join(sorted(_TORCH_NAMES))}; state what the model "
            "needs through hf_overrides={'problem_type': ...}"
        )
    name = _TORCH_NAMES[path]
    # A softmax over one label would always be 1.
    return ScoreActivation(by_count if name == "softmax" else name, f"{key} is {path}")


def _metadata(config: Mapping[str, Any]) -> tuple[str, str | None]:
    sentence_transformers = config.get("sentence_transformers") or {}
    if sentence_transformers.get("activation_fn") is not None:
        return "sentence_transformers.activation_fn", sentence_transformers["activation_fn"]
    key = "sbert_ce_default_activation_function"
    return key, config.get(key)

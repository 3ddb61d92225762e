"""Which activation a checkpoint gets, and that it is computed safely."""

import sys
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from jaxcls.config.labels import read_labels
from jaxcls.errors import ConfigError
from jaxcls.pooling.activation import ActivationName, ScoreActivation, resolve_activation

TORCH = "torch.nn.modules."
IDENTITY, SIGMOID, SOFTMAX = TORCH + "linear.Identity", TORCH + "activation.Sigmoid", TORCH + "activation.Softmax"


def resolve(num_labels: int, **values: Any) -> ScoreActivation:
    config = {"num_labels": num_labels, **values}
    return resolve_activation(config, read_labels(config, "config.json"))


def new(path: str | None) -> dict[str, Any]:
    """The key that sentence-transformers 4 and later write."""
    return {"sentence_transformers": {"activation_fn": path, "version": "4.1.0"}}


def old(path: str | None) -> dict[str, Any]:
    """The key that earlier releases wrote."""
    return {"sbert_ce_default_activation_function": path}


@pytest.mark.parametrize("metadata", [{}, new(IDENTITY), old(IDENTITY), new(SIGMOID), new(SOFTMAX), new("evil.Thing")])
@pytest.mark.parametrize(
    ("problem_type", "num_labels", "expected"),
    [
        ("regression", 1, "identity"),
        ("regression", 3, "identity"),
        ("multi_label_classification", 1, "sigmoid"),
        ("multi_label_classification", 3, "sigmoid"),
        ("single_label_classification", 1, "sigmoid"),
        ("single_label_classification", 2, "softmax"),
        ("single_label_classification", 3, "softmax"),
    ],
)
def test_problem_type_decides_first(
    problem_type: str, num_labels: int, expected: str, metadata: dict[str, Any]
) -> None:
    chosen = resolve(num_labels, problem_type=problem_type, **metadata)
    assert chosen.name == expected
    assert chosen.reason == f"problem_type is {problem_type}"


@pytest.mark.parametrize("key", [new, old])
@pytest.mark.parametrize(
    ("path", "num_labels", "expected"),
    [
        (IDENTITY, 1, "identity"),
        (IDENTITY, 3, "identity"),
        (SIGMOID, 1, "sigmoid"),
        # Sigmoid over several labels is what the checkpoint says: not softmax.
        (SIGMOID, 2, "sigmoid"),
        (SIGMOID, 3, "sigmoid"),
        (SOFTMAX, 2, "softmax"),
        (SOFTMAX, 3, "softmax"),
        # A softmax over one label would always be 1.
        (SOFTMAX, 1, "sigmoid"),
        (TORCH + "activation.Tanh", 1, "tanh"),
        (TORCH + "activation.ReLU", 2, "relu"),
    ],
)
def test_then_sentence_transformers_metadata(key: Any, path: str, num_labels: int, expected: str) -> None:
    chosen = resolve(num_labels, **key(path))
    assert chosen.name == expected
    assert path in chosen.reason
    assert next(iter(key(path))) in chosen.reason


@pytest.mark.parametrize("metadata", [{}, new(None), old(None), {"sentence_transformers": None}])
@pytest.mark.parametrize(("num_labels", "expected"), [(1, "sigmoid"), (2, "softmax"), (5, "softmax")])
def test_then_the_number_of_labels(metadata: dict[str, Any], num_labels: int, expected: str) -> None:
    assert resolve(num_labels, **metadata).name == expected


def test_the_newer_key_wins() -> None:
    assert resolve(3, **new(SIGMOID), **old(IDENTITY)).name == "sigmoid"
    assert resolve(3, **new(None), **old(IDENTITY)).name == "identity"


@pytest.mark.parametrize("key", [new, old])
def test_an_unknown_path_is_refused_and_never_imported(
    key: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "downloaded_code.py").write_text("class Activation: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"downloaded_code\.Activation.*Identity.*hf_overrides=.*problem_type"):
        resolve(2, **key("downloaded_code.Activation"))
    assert "downloaded_code" not in sys.modules


def test_torch_modules_outside_the_table_are_refused_too() -> None:
    with pytest.raises(ConfigError, match=r"torch\.nn\.modules\.activation\.Softplus"):
        resolve(1, **new(TORCH + "activation.Softplus"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("softmax", [[0.0, 1.0], [1.0, 0.0], [0.5, 0.5], [0.26894142, 0.73105858]]),
        ("sigmoid", [[0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [0.5, 0.73105858]]),
        ("identity", [[-50.0, 40.0], [1e4, -1e4], [3e38, 3e38], [0.0, 1.0]]),
        ("tanh", [[-1.0, 1.0], [1.0, -1.0], [1.0, 1.0], [0.0, 0.76159416]]),
        ("relu", [[0.0, 40.0], [1e4, 0.0], [3e38, 3e38], [0.0, 1.0]]),
    ],
)
def test_extreme_logits_stay_finite(name: ActivationName, expected: list[list[float]]) -> None:
    logits = jnp.array([[-50.0, 40.0], [1e4, -1e4], [3e38, 3e38], [0.0, 1.0]], jnp.float32)
    np.testing.assert_allclose(ScoreActivation(name, "test")(logits), expected, rtol=1e-6, atol=1e-20)


def test_softmax_runs_over_the_classes() -> None:
    logits = jnp.arange(12, dtype=jnp.float32).reshape(4, 3)
    probs = ScoreActivation("softmax", "test")(logits)
    np.testing.assert_allclose(probs.sum(axis=1), np.ones(4), rtol=1e-6)
    np.testing.assert_allclose(probs, np.tile([0.09003057, 0.24472847, 0.66524096], (4, 1)), rtol=1e-6)

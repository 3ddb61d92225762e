import hashlib
import subprocess
import sys

import numpy as np
import pytest

from weights import DummySource, Source, random_tensor
from weights.dummy import unit_normal


def test_values_never_change() -> None:
    # Golden tests elsewhere stand on these bytes.
    values = random_tensor(7, "model.layers.0.self_attn.q_proj.weight", (300, 500))
    assert values.dtype == np.float32
    assert (
        hashlib.sha256(values.tobytes()).hexdigest()
        == "4275ea039704ad98cadc26dc381577ff0652a77f1b8b4ee15baac2a9f6ae3be3"
    )
    assert random_tensor(7, "x.bias", (2,)).tolist() == [0.03978357091546059, 0.11802133172750473]


def test_values_depend_on_every_argument() -> None:
    one = unit_normal(0, "a", (4, 6))
    np.testing.assert_array_equal(one, unit_normal(0, "a", (4, 6)))
    others = [unit_normal(1, "a", (4, 6)), unit_normal(0, "b", (4, 6)), unit_normal(0, "a", (6, 4)).reshape(4, 6)]
    assert all(np.abs(one - other).max() > 0.1 for other in others)


def test_values_are_nearly_normal_and_independent() -> None:
    values = unit_normal(0, "w", (1000, 1000))
    assert abs(values.mean()) < 0.005
    assert abs(values.std() - 1) < 0.005
    assert 3 < np.abs(values).max() < 3.47
    assert abs(np.mean(values**4) - 2.7) < 0.02  # a normal distribution has 3, a uniform one 1.8
    for shift in (1, 2, 4, 1000, 1 << 14):
        assert abs(np.mean(values.ravel()[shift:] * values.ravel()[:-shift])) < 0.005


@pytest.mark.parametrize(
    ("name", "shape", "mean", "std"),
    [
        ("model.norm.weight", (50_000,), 1, 0.1),
        ("encoder.LayerNorm.gamma", (50_000,), 1, 0.1),
        ("encoder.LayerNorm.beta", (50_000,), 0, 0.1),
        ("q_proj.bias", (50_000,), 0, 0.1),
        ("embeddings.word_embeddings.weight", (500, 100), 0, 1),
        ("transformer.wte.weight", (500, 100), 0, 1),
        ("q_proj.weight", (500, 100), 0, 0.1),
        ("experts.gate_up", (5, 100, 100), 0, 0.1),
        ("patch_conv.weight", (500, 4, 5, 5), 0, 0.1),
    ],
)
def test_scale_follows_the_name(name: str, shape: tuple[int, ...], mean: float, std: float) -> None:
    values = random_tensor(0, name, shape)
    assert values.shape == shape
    assert values.mean() == pytest.approx(mean, abs=0.02)
    assert values.std() == pytest.approx(std, rel=0.02)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (1,), (16_384,), (16_385,)])
def test_any_shape(shape: tuple[int, ...]) -> None:
    assert random_tensor(0, "x", shape).shape == shape


def test_a_dummy_source_is_a_source() -> None:
    source = DummySource({"a": (2, 3)}, seed=5)
    assert isinstance(source, Source)
    assert (source.names(), source.shape("a"), source.dtype("a")) == (["a"], (2, 3), np.float32)
    np.testing.assert_array_equal(source.read("a"), random_tensor(5, "a", (2, 3)))


@pytest.mark.parametrize("module", ["weights", "weights.source", "weights.rules", "weights.dummy", "weights.hub"])
def test_host_modules_import_no_jax(module: str) -> None:
    code = f"import sys, {module}; print([m for m in ('jax', 'orbax', 'huggingface_hub', 'torch') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

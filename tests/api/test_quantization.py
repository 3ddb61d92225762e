"""`quantization="int8"`: what it costs in memory and in accuracy."""

import asyncio
import dataclasses
import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import save_file

from jaxcls import LLM, AsyncLLM
from jaxcls.engine.converted import convert
from jaxcls.errors import ConfigError
from jaxcls.info import describe
from tests.tiny import BERT, tensors, write_checkpoint

LAYOUTS = pytest.mark.parametrize("layout", ["unrolled", "stacked"])
PROMPTS = ["the cat", "sad dog " * 20, "a very happy tree", ("red cat", "blue dog"), "not fast but slow " * 8]
MATRICES = {"q", "k", "v", "o", "gate", "up", "down"}
# Tall enough for the matrices of the layers to be nearly all there is.
TALL = BERT | {"num_hidden_layers": 6, "hidden_size": 128, "intermediate_size": 512}


def parameters(llm: LLM) -> dict[str, np.ndarray]:
    flat = nnx.to_flat_state(llm.model.runner.state)
    return {".".join(map(str, path)): np.asarray(variable.get_value()) for path, variable in flat}


def logits(llm: LLM, prompts: list[Any]) -> np.ndarray:
    cut = {"truncate_prompt_tokens": -1}
    rows = [out.outputs for out in llm.classify(prompts, use_tqdm=False, tokenization_kwargs=cut)]
    return np.array([row.logits for row in rows if row is not None])


def decided(values: np.ndarray, margin: float) -> np.ndarray:
    """Which rows have a winner by more than `margin`."""
    best = np.sort(values, axis=-1)
    return best[:, -1] - best[:, -2] > margin


@LAYOUTS
@pytest.mark.parametrize("model", ["bert", "qwen"])
def test_every_matrix_of_the_layers_and_nothing_else_is_quantised(
    model: str, layout: Any, request: pytest.FixtureRequest
) -> None:
    path: Path = request.getfixturevalue(f"{model}_path")
    whole = parameters(LLM(path, layer_layout=layout))
    found = parameters(LLM(path, layer_layout=layout, quantization="int8"))
    for name, value in found.items():
        *parents, leaf = name.split(".")
        if parents[0] == "layers" and parents[-1] in MATRICES and leaf == "weight":
            scale = found[".".join([*parents, "scale"])]
            assert (value.dtype, scale.dtype) == (np.int8, np.float32)
            assert scale.shape == value.shape[:-1]
            assert np.abs(value.astype(np.int32)).max(axis=-1).tolist() == np.full(scale.shape, 127).tolist()
            np.testing.assert_array_equal(scale, np.abs(whole[name]).max(axis=-1) / np.float32(127))
            error = np.abs(value * scale[..., None].astype(np.float64) - whole[name])
            assert (error <= scale[..., None] * (0.5 + 1e-5)).all()
            assert error.max() > 0
        elif leaf != "scale":
            assert value.dtype == (np.float32 if name.startswith("head") or "norm" in name else jnp.bfloat16)
            np.testing.assert_array_equal(value, whole[name].astype(value.dtype))
    scales = [name for name in found if name.endswith(".scale")]
    assert len(scales) == sum(value.dtype == np.int8 for value in found.values()) > 0
    assert found.keys() - scales == whole.keys()


def dequantised(path: Path, config: dict[str, Any]) -> Path:
    """The checkpoint whose weights are those that int8 stands for."""
    source = tensors(config)
    layers = {name: value for name, value in source.items() if "layer" in name and value.ndim == 2}
    for name, value in layers.items():
        scale = np.abs(value).max(axis=1, keepdims=True) / np.float32(127)
        source[name] = np.rint(value / scale) * scale
    write_checkpoint(path, config)
    save_file(source, str(path / "model.safetensors"))
    return path


@LAYOUTS
def test_float32_products_are_those_of_the_dequantised_weights(bert_path: Path, tmp_path: Path, layout: Any) -> None:
    quantised = LLM(bert_path, quantization="int8", dtype="float32", layer_layout=layout)
    expected = logits(LLM(dequantised(tmp_path, BERT)), PROMPTS)
    np.testing.assert_allclose(logits(quantised, PROMPTS), expected, atol=2e-6, rtol=2e-6)
    assert np.abs(logits(LLM(bert_path), PROMPTS) - expected).max() > 1e-4


@pytest.mark.parametrize("model", ["bert", "qwen"])
def test_products_are_bfloat16_unless_said_otherwise(model: str, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(f"{model}_path")
    by_default = logits(LLM(path, quantization="int8"), PROMPTS)
    np.testing.assert_array_equal(by_default, logits(LLM(path, quantization="int8", dtype="bfloat16"), PROMPTS))
    exact = logits(LLM(path, quantization="int8", dtype="float32"), PROMPTS)
    assert 0 < np.abs(by_default - exact).max() < 0.05


@LAYOUTS
@pytest.mark.parametrize("quantization", ["int8", "w8a8"])
@pytest.mark.parametrize("model", ["bert", "qwen"])
def test_decisions_are_those_of_float32(
    model: str, quantization: Any, layout: Any, request: pytest.FixtureRequest
) -> None:
    path = request.getfixturevalue(f"{model}_path")
    whole = logits(LLM(path), PROMPTS)
    quantised = logits(LLM(path, quantization=quantization, layer_layout=layout), PROMPTS)
    assert np.abs(quantised - whole).max() < 0.05
    clear = decided(whole, 0.1)
    assert clear.any()
    np.testing.assert_array_equal(quantised.argmax(-1)[clear], whole.argmax(-1)[clear])


def test_w8a8_is_another_computation() -> None:
    text = "SELECT 1"
    assert not np.array_equal(*(logits(LLM("demo", quantization=q), [text]) for q in ("int8", "w8a8")))


@pytest.mark.parametrize("quantization", ["int8", "w8a8"])
def test_decisions_of_the_demo_model(quantization: Any) -> None:
    lines = (Path(__file__).parents[1] / "demo" / "heldout.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    whole, quantised = (logits(LLM("demo", quantization=q), texts) for q in (None, quantization))
    clear = decided(whole, 0.1)
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(quantised.argmax(-1)[clear], whole.argmax(-1)[clear])


@LAYOUTS
def test_the_matrices_take_a_byte_a_weight(tmp_path: Path, layout: Any) -> None:
    path = write_checkpoint(tmp_path, TALL)
    sizes = {}
    for name, options in {"f32": {"dtype": "float32"}, "bf16": {"dtype": "bfloat16"}, "int8": {}}.items():
        quantization = "int8" if name == "int8" else None
        found = parameters(LLM(path, quantization=quantization, layer_layout=layout, **options))
        sizes[name] = sum(value.nbytes for path, value in found.items() if path.startswith("layers."))
    assert sizes["int8"] / sizes["f32"] == pytest.approx(0.25, abs=0.02)
    assert sizes["int8"] / sizes["bf16"] == pytest.approx(0.5, abs=0.03)


@LAYOUTS
def test_a_step_never_holds_the_converted_weights_of_all_layers(tmp_path: Path, layout: Any) -> None:
    llm = LLM(write_checkpoint(tmp_path, TALL), quantization="int8", layer_layout=layout)
    llm.classify("the cat", use_tqdm=False)
    programs = llm.model.runner._programs.values()
    matrices = sum(value.size for value in parameters(llm).values() if value.dtype == np.int8)
    for program in programs:
        # All of them in bfloat16 are two bytes each.
        assert program.result().memory_analysis().temp_size_in_bytes < matrices


def test_both_front_ends_and_dummy_weights(bert_path: Path) -> None:
    options = {"quantization": "int8", "load_format": "dummy"}
    expected = logits(LLM(bert_path, **options), ["the cat"])
    stacked = logits(LLM(bert_path, layer_layout="stacked", **options), ["the cat"])
    np.testing.assert_allclose(stacked, expected, atol=1e-5)

    async def ask() -> list[float]:
        async with AsyncLLM(bert_path, **options) as llm:
            (out,) = await llm.classify("the cat")
            assert out.outputs is not None
            return out.outputs.logits

    np.testing.assert_allclose([asyncio.run(ask())], expected, atol=1e-5)
    assert np.abs(logits(LLM(bert_path, load_format="dummy"), ["the cat"]) - expected).max() > 0


@LAYOUTS
def test_converted_weights_stay_quantised_and_are_told_apart(bert_path: Path, tmp_path: Path, layout: Any) -> None:
    options = {"layer_layout": layout, "quantization": "int8"}
    path = convert(bert_path, tmp_path / "out", **options)
    np.testing.assert_array_equal(logits(LLM(path, **options), PROMPTS), logits(LLM(bert_path, **options), PROMPTS))
    with pytest.raises(ConfigError, match=r"converted to .*quantization='int8'.*pass .*quantization='int8'"):
        LLM(path, layer_layout=layout, dtype="bfloat16")
    whole = convert(bert_path, tmp_path / "whole", layer_layout=layout, dtype="bfloat16")
    with pytest.raises(ConfigError, match=r"pass .*quantization=None"):
        LLM(whole, **options)
    assert "quantization='int8'" in str(describe(path, layer_layout=layout, dtype="bfloat16").problems)
    assert describe(path, **options).problems is None


def test_what_info_tells(bert_path: Path) -> None:
    plain, quantised = describe(bert_path, dtype="bfloat16"), describe(bert_path, quantization="int8")
    assert quantised.memory_bytes == sum(v.nbytes for v in parameters(LLM(bert_path, quantization="int8")).values())
    assert quantised.memory_bytes < plain.memory_bytes
    changed = {"quantization": "int8", "memory_bytes": quantised.memory_bytes}
    assert quantised == dataclasses.replace(plain, **changed)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("awq", "give the checkpoint it was made from"),
        ("gptq", "give the checkpoint it was made from"),
        ("fp8", "as much memory as int8"),
        ("int4", "four bits"),
        ("bitsandbytes", "CUDA"),
        ("int9", "no such method"),
        (8, "not a name"),
    ],
)
def test_other_methods_are_refused_by_name(bert_path: Path, value: Any, reason: str) -> None:
    with pytest.raises(ConfigError, match=rf'quantization={value!r}: .*{reason}.*There are quantization="int8"'):
        LLM(bert_path, quantization=value)


def test_a_checkpoint_that_is_quantised_already_is_refused(tmp_path: Path) -> None:
    path, settings = write_checkpoint(tmp_path, BERT), {"quant_method": "gptq", "bits": 4}
    (path / "config.json").write_text(json.dumps(BERT | {"quantization_config": settings}))
    with pytest.raises(ConfigError, match="is quantised"):
        LLM(path, quantization="int8")

"""Programs made ahead of time: what they cost is counted, they are saved, loaded and refused.

The compilers for accelerators are not here: `make aot` runs them. What is for a CPU is the same code.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from jaxcls import LLM
from jaxcls.aot.cost import compile_for, estimate, operations
from jaxcls.aot.model import compile_model
from jaxcls.aot.targets import TARGETS, Target, find_target, missing, open_mesh
from jaxcls.cli.app import app
from jaxcls.errors import ConfigError
from kernels_pallas.varlen_attention import varlen_attention

TEXTS = ["the cat sat on a mat", "a very sad dog", "happy"]


def jaxcls(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def programs(bert_path: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """All programs of a model, and what the command said of them."""
    directory = tmp_path_factory.mktemp("aot") / "programs"
    result = jaxcls("compile", bert_path, "--target", "cpu", "--output", directory)
    assert result.exit_code == 0, result.stderr
    return directory, [json.loads(line) for line in result.stdout.splitlines()]


def test_saved_programs_are_run_and_nothing_is_compiled(bert: LLM, bert_path: Path, programs: Any) -> None:
    directory, rows = programs
    llm = LLM(bert_path, programs_dir=directory)
    ours, theirs = (
        [output.outputs.probs for output in model.classify(TEXTS, use_tqdm=False) if output.outputs is not None]
        for model in (llm, bert)
    )
    np.testing.assert_array_equal(ours, theirs)
    assert llm.stats.compiles == 0
    assert bert.stats.compiles > 0
    assert {row["file"] for row in rows} | {"manifest.json"} == {path.name for path in directory.iterdir()}


def test_programs_with_pages_are_saved_too(qwen: LLM, qwen_path: Path, tmp_path: Path) -> None:
    buckets = ("1x32", "1x64+19pages", "1x512+19pages")
    rows = list(compile_model(qwen_path, "cpu", output=tmp_path / "programs", buckets=buckets))
    assert [row.bucket for row in rows] == list(buckets)
    llm = LLM(qwen_path, programs_dir=tmp_path / "programs")
    texts = [f"{'the cat sat on a mat ' * 8}{end}" for end in ("happy", "sad", "fast")]
    ours, theirs = (model.classify(texts, use_tqdm=False) for model in (llm, qwen))
    for one, other in zip(ours, theirs, strict=True):
        assert one.outputs is not None
        assert other.outputs is not None
        np.testing.assert_array_equal(one.outputs.probs, other.outputs.probs)
    assert llm.stats.compiles == 0
    assert max(output.num_cached_tokens for output in ours) > 0


def test_what_the_command_says(bert: LLM, programs: Any) -> None:
    _, rows = programs
    assert {row["task"] for row in rows} == {"classify"}
    for row in rows:
        count, length = map(int, row["bucket"].split("x"))
        # Two layers: projections of 24 x 24, an MLP of 24 x 40; scores and what they weigh, or the kernel's own count.
        linear = 2 * 2 * count * length * (4 * 24 * 24 + 2 * 24 * 40)
        assert row["gflops"] >= round(linear / 1e9, 3) > 0
        assert row["fits"]
        assert row["memory_bytes"] > row["weight_bytes"] > 0
        # Nothing is known of how fast a CPU is.
        assert row["milliseconds"] is row["tokens_per_second"] is row["mfu"] is None


def test_a_table_for_people(bert_path: Path) -> None:
    result = jaxcls("compile", bert_path, "--target", "cpu", "--format", "table", "--task", "token_classify",
                    "--bucket", "1x32")  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert "token_classify 1x32" in result.stdout
    assert "classify 1x64" not in result.stdout


def test_programs_of_another_model_are_refused(bert_path: Path, programs: Any, tmp_path: Path) -> None:
    directory, rows = programs
    with pytest.raises(ConfigError, match=r"for another weights .*, dtype \(float32, here bfloat16\): compile them"):
        LLM(bert_path, programs_dir=directory, dtype="bfloat16")
    with pytest.raises(ConfigError, match=r"config.json and pooling"):
        LLM(bert_path, programs_dir=directory, hf_overrides={"layer_norm_eps": 1e-3})
    with pytest.raises(ConfigError, match=r"has no manifest.json: it is not a directory of `jaxcls compile --output`"):
        LLM(bert_path, programs_dir=tmp_path)
    damaged = tmp_path / "damaged"
    shutil.copytree(directory, damaged)
    for row in rows:
        (damaged / row["file"]).write_bytes(b"not a program")
    with pytest.raises(ConfigError, match="cannot be loaded"):
        LLM(bert_path, programs_dir=damaged).classify(TEXTS, use_tqdm=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "v4"}, "unknown target 'v4'; choose v5e, v6e, tpu7x, h100, cpu"),
        ({"target": "cpu", "topology": "2x2"}, "a topology is of accelerators"),
        ({"target": "cpu", "buckets": ("3x7",)}, "there is no bucket '3x7'; there are 1x32"),
        ({"target": "cpu", "tasks": ("embed",)}, "has no task 'embed'; it has classify, token_classify"),
        ({"target": "cpu", "output": Path(__file__).parent}, "is not empty"),
    ],
)
def test_what_cannot_be_compiled_is_said(bert_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        list(compile_model(bert_path, **options))


@pytest.mark.parametrize(("target", "package"), [("v5e", "libtpu"), ("tpu7x", "libtpu"), ("h100", "jax-cuda13-plugin")])
def test_a_compiler_that_is_not_here_is_named(bert_path: Path, target: str, package: str) -> None:
    if missing(find_target(target)) is None:
        pytest.skip(f"the compiler for {target} is installed: `make aot` runs it")
    result = jaxcls("compile", bert_path, "--target", target)
    assert result.exit_code == 1
    assert f"pip install {package}" in result.stderr


def test_the_steps_of_loops_are_counted() -> None:
    weights, x = jax.ShapeDtypeStruct((5, 8, 8), jnp.float32), jax.ShapeDtypeStruct((4, 8), jnp.float32)

    def layers(x: jax.Array, weights: jax.Array) -> jax.Array:
        return jax.lax.scan(lambda y, w: (jax.jit(jnp.dot)(y, w), None), x, weights)[0]

    assert operations(jax.jit(layers).trace(x, weights).jaxpr.jaxpr) == 5 * 2 * 4 * 8 * 8


def test_a_kernel_says_what_it_costs() -> None:
    q, ids = jax.ShapeDtypeStruct((256, 4, 16), jnp.float32), jax.ShapeDtypeStruct((256,), jnp.int32)

    def attend(q: jax.Array, ids: jax.Array) -> jax.Array:
        return varlen_attention(
            q, q, q, ids, row_groups=((2, 128),), scale=1.0, causal=False, implementation="tpu-interpret"
        )

    # Two products of 4 heads over 2 rows of 128 x 128.
    assert operations(jax.jit(attend).trace(q, ids).jaxpr.jaxpr) == 2 * 2 * 4 * 2 * 128 * 128 * 16


def test_the_roofline_is_the_longer_of_arithmetic_and_memory() -> None:
    x = jax.ShapeDtypeStruct((64, 64), jnp.float32)
    traced, compiled = compile_for(jnp.dot, (x, x), open_mesh(TARGETS["cpu"]))
    flops, traffic = 2 * 64**3, 3 * 64 * 64 * 4
    for peak, bandwidth in ((1e9, 1e15), (1e15, 1e9)):
        cost = estimate(traced, compiled, Target("some", "cpu", flops=peak, bandwidth=bandwidth), None)
        assert cost.flops == flops
        assert cost.seconds == pytest.approx(max(flops / peak, traffic / bandwidth))
        assert cost.source == "roofline"

"""Which GPU gets the kernels for Hopper, what they refuse, and what jax's interpreter finds in them."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels_pallas.ragged_paged_attention import ragged_paged_attention
from kernels_pallas.varlen_attention import varlen_attention
from tests.kernels import mosaic_gpu_interpreter
from tests.kernels.mosaic_gpu_interpreter import interpreted, where_it_runs

interpretable = pytest.mark.skipif(
    mosaic_gpu_interpreter.MISSING is not None or mosaic_gpu_interpreter.HOPPER,
    reason=mosaic_gpu_interpreter.MISSING or "the kernels run on this machine's GPU",
)
runnable = pytest.mark.skipif(mosaic_gpu_interpreter.MISSING is not None, reason=str(mosaic_gpu_interpreter.MISSING))


def on(kind: str, platform: str = "gpu") -> Any:
    """A machine that is not there."""
    device = jax.sharding.AbstractDevice(device_kind=kind, num_cores=1, platform=platform)
    return jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((), (), abstract_device=device))


def lowered(*, head_dim: int = 64, dtype: Any = jnp.bfloat16, scale: float = 0.1, **options: Any) -> str:
    """The program of a call for a GPU."""
    x = jax.ShapeDtypeStruct((128, 2, head_dim), dtype)

    def call(x: Any, segments: Any) -> Any:
        given: dict[str, Any] = {"row_groups": ((1, 128),), "scale": scale, "causal": True, **options}
        return varlen_attention(x, x, x, segments, **given)

    traced = jax.jit(call).trace(x, jax.ShapeDtypeStruct((128,), jnp.int32))
    return traced.lower(lowering_platforms=("cuda",)).as_text()


@pytest.mark.parametrize(
    ("kind", "is_hopper"),
    [
        ("NVIDIA H100 80GB HBM3", True),
        ("NVIDIA H200", True),
        ("NVIDIA GH200 480GB", True),
        ("NVIDIA A100-SXM4-80GB", False),
        ("Tesla T4", False),
        # Blackwell has other instructions.
        ("NVIDIA B200", False),
    ],
)
def test_hopper_gets_the_kernel_and_others_xla(kind: str, is_hopper: bool) -> None:
    with on(kind):
        assert ("mosaic_gpu" in lowered()) == is_hopper
        if not is_hopper:
            with pytest.raises(ValueError, match=rf"needs compute capability 9.0 \(Hopper\), not {kind}; use 'xla'"):
                lowered(implementation="gpu")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"dtype": jnp.float32}, "float32 would be rounded"),
        ({"head_dim": 272}, "the head dimension, 272, is above 256"),
        ({"scale": 0.0}, "the scale, 0.0, is not above zero"),
        ({"bias": jnp.zeros((1, 2, 128, 128))}, "scores have a bias"),
    ],
)
def test_what_the_kernel_cannot_do_is_xlas(options: dict[str, Any], reason: str) -> None:
    with on("NVIDIA H100 80GB HBM3"):
        assert "mosaic_gpu" not in lowered(**options)
        with pytest.raises(ValueError, match=f"implementation='gpu': {reason}.*; use 'xla'"):
            lowered(implementation="gpu", **options)


def test_the_kernel_is_for_gpus() -> None:
    with on("TPU v5 lite", "tpu"), pytest.raises(ValueError, match="needs a Hopper GPU, and this program is for tpu"):
        lowered(implementation="gpu")
    if not mosaic_gpu_interpreter.HOPPER:
        with pytest.raises(ValueError, match="needs a Hopper GPU"):
            lowered(implementation="gpu")


def arrays(tokens: int, heads: int, kv_heads: int, head_dim: int) -> tuple[jax.Array, ...]:
    rng = np.random.default_rng(0)
    shapes = [(tokens, n, head_dim) for n in (heads, kv_heads, kv_heads)]
    return tuple(jnp.asarray(rng.normal(size=shape), jnp.bfloat16) for shape in shapes)


def paged(*, head_dim: int = 32, page_size: int = 16, dtype: Any = jnp.bfloat16) -> list[jax.Array]:
    """Sequences of 40 and 60 new tokens, after none and 150, in pages that lie in reverse."""
    rng = np.random.default_rng(0)
    kv_lens, count = np.asarray([40, 210]), -(-210 // page_size)
    pages = np.arange(2 * count)[::-1].reshape(2, count)
    q, pool = rng.normal(size=(100, 2, head_dim)), rng.normal(size=(2 * count, page_size, 2, head_dim))
    tables = [jnp.asarray(x, jnp.int32) for x in (kv_lens, pages, [0, 40, 100], [2])]
    return [jnp.asarray(q, dtype), jnp.asarray(pool, dtype), *tables]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"dtype": jnp.float32}, "float32 would be rounded"),
        ({"head_dim": 24}, "the head dimension, 24, is not a multiple of 16"),
        ({"page_size": 4}, "the page size, 4, is not a power of two of at least 8"),
        ({"page_size": 24}, "the page size, 24, is not a power of two of at least 8"),
    ],
)
def test_pages_that_the_kernel_cannot_take_are_xlas(changes: dict[str, Any], reason: str) -> None:
    def program(implementation: Any, operands: list[jax.Array]) -> str:
        attend = partial(ragged_paged_attention, scale=0.2, implementation=implementation)
        return jax.jit(attend).trace(*operands).lower(lowering_platforms=("cuda",)).as_text()

    with on("NVIDIA H100 80GB HBM3"):
        assert "mosaic_gpu" in program(None, paged())
        assert "mosaic_gpu" not in program(None, paged(**changes))
        with pytest.raises(ValueError, match=f"implementation='gpu': {reason}.*; use 'xla'"):
            program("gpu", paged(**changes))
    with on("NVIDIA A100-SXM4-80GB"):
        assert "mosaic_gpu" not in program(None, paged())
        with pytest.raises(ValueError, match=r"needs compute capability 9\.0"):
            program("gpu", paged())


@interpretable
def test_no_two_threads_race_over_pages() -> None:
    operands = paged()
    attend = partial(ragged_paged_attention, *operands, scale=0.2)
    with interpreted(detect_races=True):
        ours = np.asarray(attend(implementation="gpu"), np.float32)
    np.testing.assert_allclose(ours, np.asarray(attend(implementation="xla"), np.float32), atol=2e-2)


@interpretable
def test_no_two_threads_race() -> None:
    q, k, v = arrays(300, 2, 1, 32)
    segments = jnp.repeat(jnp.arange(3), jnp.asarray([200, 10, 90]), total_repeat_length=300)
    with interpreted(detect_races=True):
        options: dict[str, Any] = {"row_groups": ((1, 300),), "scale": 0.2, "causal": True}
        out = varlen_attention(q, k, v, segments, implementation="gpu", **options)
        assert np.isfinite(np.asarray(out, np.float32)).all()


@runnable
def test_gradients_are_those_of_xla() -> None:
    q, k, v = arrays(64, 2, 1, 32)
    segments = jnp.repeat(jnp.asarray([0, 1, -1]), jnp.asarray([40, 20, 4]), total_repeat_length=64)

    def gradients(implementation: Any) -> Any:
        def loss(q: Any, k: Any, v: Any) -> Any:
            options: dict[str, Any] = {"row_groups": ((1, 64),), "scale": 0.2, "causal": True, "window": jnp.int32(9)}
            out = varlen_attention(q, k, v, segments, implementation=implementation, **options)
            return (out.astype(jnp.float32)[:60] * jnp.arange(60)[:, None, None]).sum()

        with where_it_runs(implementation):
            return [np.asarray(g, np.float32) for g in jax.grad(loss, (0, 1, 2))(q, k, v)]

    for ours, theirs in zip(gradients("gpu"), gradients("xla"), strict=True):
        assert np.abs(theirs).max() > 1
        np.testing.assert_allclose(ours, theirs, rtol=1e-2, atol=1e-2 * np.abs(theirs).max())

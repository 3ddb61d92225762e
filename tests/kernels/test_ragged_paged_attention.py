"""ragged_paged_attention and write_pages: every implementation against the float32 reference, that against numpy.

A new implementation is a row of IMPLEMENTATIONS; its flags say which of the cases apply to it.
"""

import dataclasses
import inspect
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels_cpu import library
from kernels_pallas.ragged_paged_attention import ragged_paged_attention
from kernels_pallas.write_pages import write_pages
from tests.kernels import mosaic_gpu_interpreter
from tests.kernels.mosaic_gpu_interpreter import where_it_runs


@dataclasses.dataclass(frozen=True)
class Implementation:
    """What one implementation can do."""

    name: Literal["xla", "cpu", "tpu-interpret", "gpu"]
    traced_window: bool = True
    odd_head_dims: bool = True
    soft_cap: bool = True
    float32: bool = True
    # Whether it divides its work as in float32 where values have 16 bits: what is checked in float32 is not, again.
    as_in_float32: bool = False


IMPLEMENTATIONS = (Implementation("xla"), Implementation("tpu-interpret", as_in_float32=True))
# Elsewhere there are no kernels, and nothing to test: see tests/kernels/test_library.py.
WRITERS = ["xla", "tpu-interpret"]
if {"float32", "bfloat16"} <= library().dtypes:
    IMPLEMENTATIONS += (Implementation("cpu", traced_window=False, odd_head_dims=False, soft_cap=False),)
    WRITERS.append("cpu")
if mosaic_gpu_interpreter.MISSING is None:
    IMPLEMENTATIONS += (Implementation("gpu", float32=False),)


@dataclasses.dataclass(frozen=True)
class Spec:
    """One call: (new tokens, all tokens) of each sequence, the sizes and the flags."""

    lens: tuple[tuple[int, int], ...]
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 32
    page_size: int = 16
    num_tokens: int = 128
    window: int | None = None
    traced: bool = False
    soft_cap: float | None = None
    dtype: Any = jnp.float32
    again: bool = False

    def fits(self, implementation: Implementation) -> bool:
        """Whether the implementation says that it can."""
        return (
            (implementation.traced_window or not self.traced)
            and (implementation.odd_head_dims or self.head_dim % 32 == 0)
            and (implementation.soft_cap or self.soft_cap is None)
            and (implementation.float32 or self.dtype != jnp.float32)
            and not (implementation.as_in_float32 and self.again)
        )


SEQS = 8
WHOLE = tuple((n, n) for n in (5, 1, 40, 16, 31))
RESUMED = ((40, 40), (1, 100), (0, 16), (70, 300))
SPECS = {
    "whole": Spec(WHOLE),
    "resumed": Spec(RESUMED),
    "nothing": Spec(()),
    "one token": Spec(((1, 1),)),
    "page edges": Spec(((16, 16), (16, 32), (15, 31), (17, 33), (1, 16), (1, 17))),
    "multi-query": Spec(RESUMED, heads=8, kv_heads=1),
    "groups of 16": Spec(RESUMED, heads=16, kv_heads=1, head_dim=64),
    "multi-head": Spec(RESUMED, heads=3, kv_heads=3),
    "heads of 16": Spec(RESUMED, head_dim=16),
    "heads of 80": Spec(RESUMED, head_dim=80),
    "heads of 128": Spec(RESUMED, head_dim=128),
    "heads of 256": Spec(RESUMED, head_dim=256, heads=2, kv_heads=1),
    "pages of 8": Spec(RESUMED, page_size=8),
    "pages of 64": Spec(RESUMED, page_size=64),
    "window": Spec(RESUMED, window=24),
    "window of one": Spec(RESUMED, window=1),
    "traced window": Spec(RESUMED, window=24, traced=True),
    "soft cap": Spec(RESUMED, soft_cap=3.0),
    "window, soft cap": Spec(RESUMED, window=50, soft_cap=3.0, heads=6, kv_heads=3),
    "bfloat16": Spec(RESUMED, dtype=jnp.bfloat16, head_dim=128),
    "bfloat16, window": Spec(RESUMED, dtype=jnp.bfloat16, head_dim=64, window=24, soft_cap=9.0),
    "thousands": Spec(((100, 3000), (28, 28)), heads=2, kv_heads=1),
}
# Those that differ in how a kernel divides its work, for kernels in 16 bits only.
for _name in ("nothing", "page edges", "groups of 16", "window, soft cap"):
    SPECS[f"bfloat16, {_name}"] = dataclasses.replace(SPECS[_name], dtype=jnp.bfloat16, again=True)
SPECS["bfloat16, pages of 256"] = Spec(RESUMED, heads=3, kv_heads=3, page_size=256, dtype=jnp.bfloat16)
# Every spec, by every implementation that can.
CALLS = [(i.name, name) for i in IMPLEMENTATIONS for name, spec in SPECS.items() if spec.fits(i)]


def make(spec: Spec) -> tuple[tuple[jax.Array, ...], dict[str, Any]]:
    """The call's arguments. Slots that are no sequence's hold NaN. Shapes are few, so that programs are shared."""
    rng = np.random.default_rng(0)
    per_seq = max(-(-total // spec.page_size) for _, total in (*spec.lens, (0, 320))) + 2
    num_pages = max(sum(-(-total // spec.page_size) for _, total in spec.lens) + 3, 40)
    kv_pages = rng.standard_normal((num_pages, spec.page_size, 2 * spec.kv_heads, spec.head_dim))
    seqs = SEQS
    spare = seqs - len(spec.lens)
    order, written = iter(rng.permutation(num_pages)), np.zeros((num_pages, spec.page_size), bool)
    pages, kv_lens = np.zeros((seqs, per_seq), np.int32), np.zeros(seqs, np.int32)
    for seq, (_, total) in enumerate(spec.lens):
        kv_lens[seq] = total
        for index in range(-(-total // spec.page_size)):
            pages[seq, index] = next(order)
            written[pages[seq, index], : total - index * spec.page_size] = True
    kv_pages[~written] = np.nan
    ends = np.cumsum([0, *(new for new, _ in spec.lens), *([0] * spare)])
    q = rng.standard_normal((spec.num_tokens, spec.heads, spec.head_dim))
    window = jnp.int32(spec.window) if spec.traced else spec.window
    arrays = (jnp.asarray(q, spec.dtype), jnp.asarray(kv_pages, spec.dtype), kv_lens, pages, ends.astype(np.int32))
    options = {"scale": spec.head_dim**-0.5, "window": window, "soft_cap": spec.soft_cap}
    return tuple(map(jnp.asarray, (*arrays, np.array([len(spec.lens)], np.int32)))), options


@pytest.mark.parametrize(("implementation", "name"), CALLS, ids=lambda value: value)
def test_agrees_with_the_reference(implementation: Any, name: str) -> None:
    spec = SPECS[name]
    arrays, options = make(spec)
    expected = np.asarray(ragged_paged_attention(*arrays, **options, implementation="reference"), np.float32)
    with where_it_runs(implementation):
        result = np.asarray(ragged_paged_attention(*arrays, **options, implementation=implementation), np.float32)
    real = sum(new for new, _ in spec.lens)
    bound = 2e-2 if spec.dtype == jnp.bfloat16 else 1e-5
    np.testing.assert_allclose(result[:real], expected[:real], atol=bound, rtol=0)
    assert np.isfinite(result).all()


def test_the_reference_is_a_softmax_over_the_tokens_before() -> None:
    arrays, _ = make(Spec(RESUMED, heads=2, kv_heads=1, head_dim=8))
    result = np.asarray(ragged_paged_attention(*arrays, scale=0.3, window=20, implementation="reference"))
    q, kv_pages, _, pages, _, _ = (np.asarray(array, np.float64) for array in arrays)
    own = kv_pages[pages[3].astype(int)].reshape(-1, 2, 8)
    # The 11th new token of the last sequence, 300 tokens long of which 70 are new.
    at = 230 + 10
    scores = own[at - 19 : at + 1, 0] @ q[41 + 10, 1] * 0.3
    weights = np.exp(scores) / np.exp(scores).sum()
    np.testing.assert_allclose(result[41 + 10, 1], weights @ own[at - 19 : at + 1, 1], atol=1e-6)


@pytest.mark.parametrize("implementation", WRITERS)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_what_is_written_is_where_attention_reads_it(implementation: Any, dtype: Any) -> None:
    rng = np.random.default_rng(1)
    k, v = (jnp.asarray(rng.standard_normal((6, 2, 16)), jnp.float32) for _ in range(2))
    k, v = (x.astype(dtype).astype(jnp.float32) for x in (k, v))
    kv_pages = jnp.full((4, 4, 4, 16), jnp.nan, dtype)
    # Token 2 has no slot; the others are positions 0 to 4 of a sequence in pages 3 and 1.
    slots = jnp.asarray([12, 13, 16, 14, 15, 4], jnp.int32)
    kv_pages = write_pages(kv_pages, k, v, slots, implementation=implementation).astype(jnp.float32)
    assert int(jnp.isfinite(kv_pages).all(axis=(2, 3)).sum()) == 5
    q = jnp.asarray(rng.standard_normal((1, 2, 16)), jnp.float32)
    tables = (jnp.asarray([5]), jnp.asarray([[3, 1]]), jnp.asarray([0, 1]), jnp.asarray([1]))
    result = ragged_paged_attention(q, kv_pages, *tables, scale=1.0)
    kept = np.array([0, 1, 3, 4, 5])
    weights = jax.nn.softmax(jnp.einsum("nh,snh->ns", q[0], k[kept]), axis=-1)
    np.testing.assert_allclose(result[0], jnp.einsum("ns,snh->nh", weights, v[kept]), atol=1e-5)


@pytest.mark.parametrize("implementation", [name for name in WRITERS if name != "tpu-interpret"])
def test_pages_are_written_in_place(implementation: Any) -> None:
    kv_pages, kv = jax.ShapeDtypeStruct((512, 16, 4, 32), jnp.float32), jax.ShapeDtypeStruct((64, 2, 32), jnp.float32)
    write = jax.jit(partial(write_pages, implementation=implementation), donate_argnums=0)
    compiled = write.lower(kv_pages, kv, kv, jax.ShapeDtypeStruct((64,), jnp.int32)).compile()
    memory: Any = compiled.memory_analysis()
    pool = 512 * 16 * 4 * 32 * 4
    assert memory.alias_size_in_bytes == pool
    assert memory.temp_size_in_bytes < pool / 4


def test_attention_takes_memory_for_the_tokens_not_for_the_longest_sequence() -> None:
    q, kv_pages = jax.ShapeDtypeStruct((256, 4, 32), jnp.float32), jax.ShapeDtypeStruct((64, 16, 4, 32), jnp.float32)

    def temporaries(per_seq: int) -> int:
        ints = [jax.ShapeDtypeStruct(shape, jnp.int32) for shape in ((32,), (32, per_seq), (33,), (1,))]
        call = jax.jit(lambda *arrays: ragged_paged_attention(*arrays, scale=1.0, implementation="xla"))
        memory: Any = call.lower(q, kv_pages, *ints).compile().memory_analysis()
        return memory.temp_size_in_bytes

    # Tables are int32 and may be copied; nothing of the keys grows with them.
    assert temporaries(2048) - temporaries(64) <= 2 * 32 * (2048 - 64) * 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"q": (128, 3, 32)}, "3 query heads do not divide over 4 keys and values"),
        ({"cu_q_lens": (3,)}, "one entry more than kv_lens"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(change: dict[str, tuple[int, ...]], message: str) -> None:
    arrays, options = make(Spec(((3, 3),)))
    names = ("q", "kv_pages", "kv_lens", "pages", "cu_q_lens", "num_seqs")
    given: dict[str, Any] = dict(zip(names, arrays, strict=True))
    given |= {name: jnp.zeros(shape, given[name].dtype) for name, shape in change.items()}
    with pytest.raises(ValueError, match=message):
        ragged_paged_attention(**given, **options)


def test_misuse_is_named() -> None:
    # Past the run-time type checker, whose own error would come first.
    unchecked: Any = inspect.unwrap
    arrays, options = make(Spec(((3, 3),)))
    with pytest.raises(ValueError, match="window must be at least 1"):
        ragged_paged_attention(*arrays, **options | {"window": 0})
    wrong: Any = "cuda"
    with pytest.raises(ValueError, match="unknown implementation 'cuda'"):
        unchecked(ragged_paged_attention)(*arrays, **options, implementation=wrong)
    k = jnp.zeros((4, 2, 32))
    with pytest.raises(ValueError, match="unknown implementation 'cuda'"):
        unchecked(write_pages)(arrays[1], k, k, jnp.zeros(4, jnp.int32), implementation=wrong)
    with pytest.raises(ValueError, match="do not fit pages of shape"):
        write_pages(arrays[1], k[:, :1], k[:, :1], jnp.zeros(4, jnp.int32))

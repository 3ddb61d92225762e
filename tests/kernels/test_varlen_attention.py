"""varlen_attention: every implementation against the float32 reference, and the reference against float64 numpy.

A new implementation is a row of IMPLEMENTATIONS; its flags say which of the tests apply to it.
"""

import dataclasses
import functools
import inspect
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels_cpu import library
from kernels_pallas.varlen_attention import RowGroup, varlen_attention
from tests.kernels import mosaic_gpu_interpreter


@dataclasses.dataclass(frozen=True)
class Implementation:
    """What one implementation can do."""

    name: Literal["xla", "cpu", "tpu-interpret", "gpu"]
    float32: bool = True
    traced_window: bool = True
    odd_head_dims: bool = True
    capped_or_hidden: bool = True
    gradients: bool = True
    float16: bool = True
    # Whether XLA counts its memory, which then has to grow with the row length only.
    row_bounded: bool = True


IMPLEMENTATIONS = (Implementation("xla"), Implementation("tpu-interpret", float16=False, row_bounded=False))
if {"float32", "bfloat16"} <= library().dtypes:
    # Elsewhere there are no kernels, and nothing to test: see tests/kernels/test_library.py.
    IMPLEMENTATIONS += (
        Implementation(
            "cpu",
            traced_window=False,
            odd_head_dims=False,
            capped_or_hidden=False,
            float16=False,
            row_bounded=False,
        ),
    )
if mosaic_gpu_interpreter.MISSING is None:
    IMPLEMENTATIONS += (Implementation("gpu", float32=False, row_bounded=False),)


def able(*flags: str) -> pytest.MarkDecorator:
    """Every implementation that has the flags."""
    names = [i.name for i in IMPLEMENTATIONS if all(getattr(i, flag) for flag in flags)]
    return pytest.mark.parametrize("implementation", names)


every = able("float32")
causality = pytest.mark.parametrize("causal", [True, False], ids=["causal", "bidirectional"])

# Row groups and, row by row, the lengths of the sequences in it; what remains of a row is padding.
LAYOUTS: dict[str, tuple[tuple[RowGroup, ...], list[list[int]]]] = {
    "one sequence": (((1, 16),), [[16]]),
    "one row": (((1, 16),), [[5, 1, 7]]),
    "rows": (((3, 8),), [[3, 5], [8], [2]]),
    "groups": (((2, 16), (3, 8)), [[9, 4], [16], [1, 7], [], [5]]),
}


@dataclasses.dataclass(frozen=True)
class Case:
    """Inputs of one call."""

    q: Any
    k: Any
    v: Any
    segments: Any
    row_groups: tuple[RowGroup, ...]

    @property
    def real(self) -> np.ndarray:
        """Which tokens are not padding."""
        return np.asarray(self.segments) >= 0


def make(
    layout: str | tuple[tuple[RowGroup, ...], list[list[int]]] = "groups",
    *,
    heads: int = 4,
    kv_heads: int = 2,
    head_dim: int = 32,
    dtype: Any = jnp.float32,
) -> Case:
    row_groups, rows = LAYOUTS[layout] if isinstance(layout, str) else layout
    lengths = [length for count, length in row_groups for _ in range(count)]
    segments: list[int] = []
    index = 0
    for length, sequences in zip(lengths, rows, strict=True):
        row: list[int] = []
        for sequence in sequences:
            row += [index] * sequence
            index += 1
        segments += row + [-1] * (length - len(row))
    rng = np.random.default_rng(0)
    shapes = [(len(segments), n, head_dim) for n in (heads, kv_heads, kv_heads)]
    q, k, v = (jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes)
    return Case(q, k, v, jnp.asarray(segments, jnp.int32), row_groups)


@functools.cache
def program(implementation: Any, row_groups: tuple[RowGroup, ...], scale: float, causal: bool, window: Any) -> Any:
    """One call, shared by the tests; `traced` replaces the window where it is not None."""
    options = {"row_groups": row_groups, "scale": scale, "causal": causal, "implementation": implementation}

    def call(q: Any, k: Any, v: Any, segments: Any, traced: Any) -> Any:
        return varlen_attention(q, k, v, segments, window=window if traced is None else traced, **options)

    # The reference costs less op by op: compiled ops are shared by all tests, whole programs are not. So is what the
    # kernel for TPUs compiles itself, whatever the window.
    return call if implementation in ("reference", "tpu-interpret") else jax.jit(call)


def run(case: Case, implementation: Any, *, causal: bool, window: Any = None, scale: float | None = None) -> np.ndarray:
    """The output in float32; a window that is an array is traced."""
    scale = case.q.shape[-1] ** -0.5 if scale is None else scale
    traced = window if isinstance(window, jax.Array) else None
    step = program(implementation, case.row_groups, scale, causal, None if traced is not None else window)
    output = step(case.q, case.k, case.v, case.segments, traced)
    assert output.dtype == case.q.dtype
    return np.asarray(output, np.float32)


def compare(case: Case, implementation: Any, *, atol: float = 1e-5, **options: Any) -> None:
    ours, reference = (run(case, name, **options) for name in (implementation, "reference"))
    np.testing.assert_allclose(ours[case.real], reference[case.real], atol=atol, rtol=0)
    assert np.isfinite(ours).all(), "padding must be finite"


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(("rows", "row_len"), [(3, 8), (2, 512)])
def test_soft_cap_and_bias(causal: bool, shared: bool, rows: int, row_len: int) -> None:
    """Rows computed together and in blocks of queries; a bias of each row, and one of all."""
    case = make((((rows, row_len),), [[row_len // 2, 3], *[[row_len]] * (rows - 1)]), head_dim=4)
    bias = jax.random.normal(jax.random.key(0), (1 if shared else rows, 4, row_len, row_len))

    def attend(implementation: Any, **changes: Any) -> np.ndarray:
        options: Any = {"row_groups": case.row_groups, "causal": causal, "scale": 0.5, "soft_cap": 0.7, "bias": bias}
        out = varlen_attention(
            case.q, case.k, case.v, case.segments, implementation=implementation, **{**options, **changes}
        )
        return np.asarray(out)[case.real]

    ours = attend("xla")
    np.testing.assert_allclose(ours, attend("reference"), atol=2e-5, rtol=0)
    np.testing.assert_array_equal(ours, attend(None))
    for changes in ({"soft_cap": None}, {"bias": None}, {"bias": bias + jnp.arange(row_len)}):
        assert np.abs(attend("xla", **changes) - ours).max() > 1e-3


def test_what_a_bias_and_the_kernel_cannot_do() -> None:
    case = make("one row")
    with pytest.raises(ValueError, match=r"a bias of shape .* does not fit"):
        call(case, bias=jnp.zeros((2, 4, 16, 16)))
    if "cpu" in [implementation.name for implementation in IMPLEMENTATIONS]:
        with pytest.raises(ValueError, match="scores are capped or have a bias"):
            call(case, implementation="cpu", soft_cap=1.0)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("causal", "window"), [(True, None), (False, None), (True, 3), (False, 2)])
def test_the_reference_is_softmax_attention(layout: str, causal: bool, window: int | None) -> None:
    case = make(layout)
    q, k, v = (np.asarray(x, np.float64) for x in (case.q, case.k, case.v))
    segments = np.asarray(case.segments)
    found = run(case, "reference", causal=causal, window=window, scale=0.3)
    for i in np.flatnonzero(case.real):
        seen = [
            j
            for j in range(len(segments))
            if segments[j] == segments[i] and (j <= i or not causal) and (window is None or abs(i - j) < window)
        ]
        for head in range(q.shape[1]):
            scores = 0.3 * k[seen, head // 2] @ q[i, head]
            weights = np.exp(scores - scores.max())
            np.testing.assert_allclose(found[i, head], weights / weights.sum() @ v[seen, head // 2], atol=1e-6)


@every
@causality
@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (6, 2), (5, 1)], ids=["MHA", "GQA", "MQA"])
def test_heads_and_direction(implementation: str, causal: bool, heads: int, kv_heads: int) -> None:
    compare(make(heads=heads, kv_heads=kv_heads), implementation, causal=causal)


@every
@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "groups"])
def test_layouts(implementation: str, layout: str) -> None:
    compare(make(layout), implementation, causal=False)


@every
@causality
@pytest.mark.parametrize("window", [1, 3, 1000])
def test_windows(implementation: str, causal: bool, window: int) -> None:
    compare(make(), implementation, causal=causal, window=window)


@able("float32", "traced_window")
@causality
def test_a_traced_window_is_the_static_one(implementation: Any, causal: bool) -> None:
    case = make()
    for window in (1, 3):
        static = run(case, implementation, causal=causal, window=window)
        traced = run(case, implementation, causal=causal, window=jnp.asarray(window, jnp.int32))
        np.testing.assert_allclose(traced, static, atol=1e-6)
    # What a stack of layers passes for "no window".
    none = run(case, implementation, causal=causal)
    largest = run(case, implementation, causal=causal, window=jnp.asarray(np.iinfo(np.int32).max, jnp.int32))
    np.testing.assert_allclose(largest, none, atol=1e-6)


@every
def test_a_window_of_one_returns_the_values(implementation: Any) -> None:
    case = make(heads=4, kv_heads=4)
    found = run(case, implementation, causal=False, window=1)
    np.testing.assert_allclose(found[case.real], np.asarray(case.v)[case.real], atol=1e-6)


@able("float32", "odd_head_dims")
@pytest.mark.parametrize("head_dim", [1, 7, 33])
def test_odd_head_dims(implementation: str, head_dim: int) -> None:
    compare(make(head_dim=head_dim), implementation, causal=True)


@every
@pytest.mark.parametrize("scale", [0.05, 30.0])
def test_scales(implementation: str, scale: float) -> None:
    """Large scores need the maximum subtracted before exp."""
    compare(make(), implementation, causal=True, scale=scale, atol=1e-4 if scale > 1 else 1e-5)


@every
@causality
def test_padding_and_neighbours_are_never_read(implementation: Any, causal: bool) -> None:
    case = make()
    changed = Case(
        *(jnp.where(jnp.asarray(case.real)[:, None, None], x, 1e4) for x in (case.q, case.k, case.v)),
        case.segments,
        case.row_groups,
    )
    ours, theirs = (run(c, implementation, causal=causal) for c in (case, changed))
    np.testing.assert_array_equal(ours[case.real], theirs[case.real])
    assert np.isfinite(theirs).all()


@every
def test_a_sequence_scores_the_same_wherever_it_lies(implementation: Any) -> None:
    case = make((((2, 16), (2, 8)), [[6, 6], [3, 6], [6], [2, 6]]))
    places = [0, 6, 19, 32, 42]
    first = slice(0, 6)
    q, k, v = (np.array(x) for x in (case.q, case.k, case.v))
    for x in (q, k, v):
        for place in places:
            x[place : place + 6] = x[first]
    moved = Case(jnp.asarray(q), jnp.asarray(k), jnp.asarray(v), case.segments, case.row_groups)
    found = run(moved, implementation, causal=True)
    for place in places[1:]:
        np.testing.assert_allclose(found[place : place + 6], found[first], atol=1e-6)


@able("float32", "gradients")
@causality
@pytest.mark.parametrize("window", [None, 3])
def test_gradients(implementation: Any, causal: bool, window: int | None) -> None:
    case = make(heads=4, kv_heads=2)
    weights = jnp.asarray(np.random.default_rng(1).normal(size=case.q.shape) * case.real[:, None, None], jnp.float32)

    def gradients(name: Any) -> list[np.ndarray]:
        def loss(q: Any, k: Any, v: Any) -> Any:
            options = {"row_groups": case.row_groups, "causal": causal, "window": window}
            return (weights * varlen_attention(q, k, v, case.segments, scale=0.4, implementation=name, **options)).sum()

        grad = jax.grad(loss, (0, 1, 2))
        return [np.asarray(g) for g in (grad if name == "reference" else jax.jit(grad))(case.q, case.k, case.v)]

    for ours, reference in zip(gradients(implementation), gradients("reference"), strict=True):
        assert np.isfinite(ours).all()
        assert np.abs(ours).max() > 0.1
        np.testing.assert_allclose(ours, reference, atol=2e-5)
        np.testing.assert_array_equal(ours[~case.real], 0)


LONG = (((1, 2048),), [[1500, 400]])


@every
@causality
def test_long_rows(implementation: Any, causal: bool) -> None:
    """8 heads x 2048 x 2048 scores: more than are made at once."""
    case = make(LONG, heads=8, kv_heads=2, head_dim=32)
    compare(case, implementation, causal=causal, window=700)


# More scores than are made at once on a CPU; sequences that lie in one block of queries, in several, and across.
BLOCKS: list[list[list[int]]] = [
    [[512], [500]],
    [[250, 250], [300, 212]],
    [[128, 128, 128, 128], [1, 511]],
    [[60] * 8, [127, 2, 381]],
    [[], [130]],
]


@every
@causality
@pytest.mark.parametrize("window", [None, 1, 40])
@pytest.mark.parametrize("rows", BLOCKS, ids=str)
def test_blocks_of_queries(implementation: Any, rows: list[list[int]], causal: bool, window: int | None) -> None:
    case = make((((2, 512),), rows), heads=4, kv_heads=2, head_dim=32)
    compare(case, implementation, causal=causal, window=window)


@every
def test_a_row_that_does_not_divide(implementation: Any) -> None:
    case = make((((1, 702),), [[300, 401]]), heads=4, kv_heads=4, head_dim=32)
    compare(case, implementation, causal=True)


def temporary_bytes(implementation: Any, row_groups: tuple[RowGroup, ...], heads: int = 4) -> int:
    """Memory that the compiled program needs besides its arguments and results."""
    tokens = sum(count * length for count, length in row_groups)
    shape = jax.ShapeDtypeStruct((tokens, heads, 16), jnp.float32)
    segments = jax.ShapeDtypeStruct((tokens,), jnp.int32)

    def step(q: Any, k: Any, v: Any, s: Any) -> Any:
        return varlen_attention(
            q, k, v, s, row_groups=row_groups, scale=1.0, causal=True, implementation=implementation
        )

    return jax.jit(step).lower(shape, shape, shape, segments).compile().memory_analysis().temp_size_in_bytes


@able("row_bounded")
def test_memory_grows_with_the_rows_and_not_with_the_stream(implementation: Any) -> None:
    short, double, long = (
        temporary_bytes(implementation, groups) for groups in (((8, 128),), ((16, 128),), ((1, 1024),))
    )
    assert double <= 2.5 * short
    # 1,024 tokens either way, and less than the long row's scores alone.
    assert long < 4 * 4 * 1024 * 1024 / 2


@able("row_bounded")
def test_memory_of_a_long_row_is_bounded(implementation: Any) -> None:
    """All its scores at once would take 512 MiB; a block of them 64."""
    assert temporary_bytes(implementation, ((1, 4096),), heads=8) < 4 * 64 * 2**20


def call(case: Case, **options: Any) -> None:
    arguments = {"row_groups": case.row_groups, "scale": 1.0, "causal": True, **options}
    # Past the run-time type checker, whose own error would come first.
    inspect.unwrap(varlen_attention)(case.q, case.k, case.v, case.segments, **arguments)


def test_heads_must_be_shared_evenly() -> None:
    with pytest.raises(ValueError, match="5 query heads cannot share 2 key/value heads"):
        call(make(heads=5, kv_heads=2))


@pytest.mark.parametrize("row_groups", [(), ((1, 15),), ((2, 16),), ((1, 8), (1, 9))])
def test_rows_must_cover_the_stream(row_groups: tuple[RowGroup, ...]) -> None:
    with pytest.raises(ValueError, match=r"cover \d+ tokens, but there are 16"):
        call(make("one row"), row_groups=row_groups)


def test_an_unknown_implementation_is_named() -> None:
    with pytest.raises(ValueError, match="unknown implementation 'cuda'; choose 'xla'"):
        call(make("one row"), implementation="cuda")


@pytest.mark.parametrize("window", [0, -3])
def test_a_window_that_sees_nothing_is_refused(window: int) -> None:
    with pytest.raises(ValueError, match=f"window must be at least 1, got {window}"):
        call(make("one row"), window=window)


@pytest.mark.parametrize("argument", ["k", "v", "segments"])
def test_shapes_must_agree(argument: str) -> None:
    """Checked where jaxtyping is on, as in these tests."""
    case = make("one row")
    wrong = dataclasses.replace(case, **{argument: getattr(case, argument)[:-1]})
    with pytest.raises(Exception, match="Type-check error"):
        varlen_attention(wrong.q, wrong.k, wrong.v, wrong.segments, row_groups=case.row_groups, scale=1.0, causal=True)

"""From a checkpoint to the arrays of a model: strict, one tensor at a time."""

from collections.abc import Callable, Collection, Mapping
from functools import partial
from math import prod
from typing import overload

import jax
import numpy as np
from jaxtyping import Shaped

from weights import dummy
from weights.accounting import NON_FINITE, Fill, HeadInit, Problems, Row, account, outline
from weights.file_table import FileTable
from weights.quantise import quantise
from weights.rules import RuleTable
from weights.source import FileSource, Source

Host = Shaped[np.ndarray, "..."]
Put = Callable[[str, Host], jax.Array]
Progress = Callable[[int], None]
Weights = dict[str, jax.Array] | dict[str, jax.Array | FileTable]

_ALIGNMENT = 64  # bytes
_HEAD_STD = 0.02
_COPIED_AT_ONCE = 16 << 20  # bytes of a mapped file that are resident beside their copy
_CHECKED_AT_ONCE = 1 << 16  # values: few enough for their temporaries to stay in the cache
_EXPONENT_BITS = {"float16": 0x7C00, "bfloat16": 0x7F80, "float32": 0x7F80_0000, "float64": 0x7FF0_0000_0000_0000}


@overload
def load(
    source: Source,
    table: RuleTable,
    target: Mapping[str, jax.ShapeDtypeStruct],
    *,
    put: Put | None = None,
    head_init: HeadInit | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, jax.Array]: ...


@overload
def load(
    source: Source,
    table: RuleTable,
    target: Mapping[str, jax.ShapeDtypeStruct],
    *,
    put: Put | None = None,
    head_init: HeadInit | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    in_file: Collection[str],
) -> Weights: ...


def load(
    source: Source,
    table: RuleTable,
    target: Mapping[str, jax.ShapeDtypeStruct],
    *,
    put: Put | None = None,
    head_init: HeadInit | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    in_file: Collection[str] = (),
) -> Weights:
    """Every parameter of `target`, from the tensors of `source`, in the target's order and dtypes.

    Layers may be unrolled (`layers.0.attn.q.weight`) or stacked (`layers.attn.q.weight`, with a leading layer axis);
    the target's paths tell. Host memory beyond the finished weights is bounded by the largest parameter and one
    layer's tensor; where `put` takes over the host array, as on CPU, by one layer's tensor or a part of a larger one.

    A parameter `x.weight` that is int8 beside an `x.scale` is quantised as it is loaded, see
    `weights.quantise.quantise`: its scales need no rule, and no more than one layer's tensor is ever there unquantised.

    Args:
        source: the checkpoint, see `weights.source.open_checkpoint`.
        table: which tensors fill which parameter.
        target: dotted path -> shape and dtype. Floating tensors are converted, bfloat16 and float16 to float32
            exactly, otherwise to the nearest; any other dtype must agree.
        put: (path, array) -> the array on its device(s). The host array is never written again: `put` may alias it.
            By default `jax.device_put` to the default device.
        head_init: what to put in parameters under `head.` that the checkpoint lacks: "zeros" (all classes score the
            same), or "random" (matrices normal with std 0.02, biases 0, norms 1). None refuses.
        seed: for head_init="random".
        progress: called with the bytes of finished weights as they come; they add up to `total_bytes(target)`.
        in_file: matrices that are not loaded, only looked through: their FileTable comes back. Each is one tensor, as
            the file has it, in whatever dtype.

    Raises:
        MissingHeadError: the head is missing and head_init is None.
        CheckpointError: anything missing, unexpected, of the wrong shape or dtype, found before any tensor is read;
            values that are not finite, found while reading. The message names them all.
    """
    shapes = {name: source.shape(name) for name in source.names()}
    dtypes = {name: source.dtype(name) for name in shapes}
    fills, problems = account(shapes, dtypes, table, target, head_init)
    problems.raise_any()

    def value(fill: Fill, row: Row) -> Host:
        if not row.sources:
            return _initial(row, seed)
        return fill.rule.made_by.apply([source.read(name) for name in row.sources])

    def release(row: Row) -> None:
        for name in row.sources:
            source.release(name)

    tables = {fill.target: _table(source, fill, problems) for fill in fills if fill.target in in_file}
    filled = [fill for fill in fills if fill.target not in tables]
    loaded = _fill_all(filled, value, put, progress, problems, release) | tables
    return {path: loaded[path] for path in target}


def _table(source: Source, fill: Fill, problems: Problems) -> FileTable:
    """The matrix of a fill in its file, looked through."""
    (row,) = fill.rows
    if not isinstance(source, FileSource) or not row.sources or fill.rule.transform != "identity":
        raise ValueError(f"{fill.target} is not a matrix that a file has as it is")
    (name,) = row.sources
    stored, kept = source.dtype(name), np.dtype(fill.spec.dtype)
    table = source.table(name, kept)
    with np.errstate(over="ignore"):  # as in _write
        bad = sum(map(count_non_finite, table.parts()))
    if bad:
        before = sum(map(count_non_finite, source.table(name, stored).parts()))
        _add_non_finite(problems, row, f"{bad} of {prod(table.shape)} values", before, stored, kept)
    return table


def load_dummy(
    table: RuleTable,
    target: Mapping[str, jax.ShapeDtypeStruct],
    *,
    put: Put | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, jax.Array]:
    """Random values for every parameter of `target`, without a checkpoint; the same in both layouts of the layers.

    A layer's values are `weights.dummy.random_tensor(seed, path, shape)`, with its path in an unrolled model. `put` and
    `progress` are those of `load`. Raises CheckpointError naming parameters that no rule fills.
    """
    fills, problems = outline(table, target)
    problems.raise_any()
    value = lambda _, row: dummy.random_tensor(seed, row.name, row.shape)  # noqa: E731
    loaded = _fill_all(fills, value, put, progress, problems)
    return {path: loaded[path] for path in target}


def _fill_all(
    fills: list[Fill],
    value: Callable[[Fill, Row], Host],
    put: Put | None,
    progress: Progress | None,
    problems: Problems,
    release: Callable[[Row], None] = lambda _: None,
) -> dict[str, jax.Array]:
    put = put or _put_on_default_device
    loaded: dict[str, jax.Array] = {}
    for fill in fills:
        hosts = {path: _aligned_empty(tuple(spec.shape), np.dtype(spec.dtype)) for path, spec in fill.parts.items()}
        for i, row in enumerate(fill.rows):
            _write(
                [host[i, ...] if fill.stacked else host for host in hosts.values()],
                value(fill, row),
                row,
                problems,
                partial(release, row),
            )
            if progress is not None:
                progress(sum(host.nbytes for host in hosts.values()) // len(fill.rows))
        while hosts:
            path, host = hosts.popitem()
            if not problems:  # otherwise the rest is read only to name all that is wrong
                loaded[path] = jax.block_until_ready(put(path, host))
            del host
            _let_go_of_host_buffers()
    problems.raise_any()
    return loaded


def _write(places: list[Host], value: Host, row: Row, problems: Problems, release: Callable[[], None]) -> None:
    """Converts `value` into its place, or quantises it into those of weight and scales; records what is not finite."""
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is not finite, and named below
        if len(places) == 1:
            _copy(places[0], value, release)
        else:
            quantise(value, *places)
    seen = places[-1]  # a scale tells of its row
    bad = count_non_finite(seen)
    if bad:
        before = count_non_finite(np.ascontiguousarray(value))
        of = f"{bad} of {seen.size} {'values' if len(places) == 1 else 'rows'}"
        _add_non_finite(problems, row, of, before, value.dtype, seen.dtype)
    release()


def _add_non_finite(problems: Problems, row: Row, of: str, before: int, given: np.dtype, kept: np.dtype) -> None:
    """Records values that are not finite; `before`: how many were not before they were converted."""
    cause = "" if before else f": they are finite as {given} but too large for {kept}"
    problems.add(NON_FINITE, f"{row.label} (for {row.name}), {of}{cause}")


def _copy(place: Host, value: Host, release: Callable[[], None]) -> None:
    """Copies part by part and lets go of each, so that a vocabulary's table is never there twice."""
    rows = len(value) if value.ndim else 0
    step = max(1, rows * _COPIED_AT_ONCE // max(1, value.nbytes))
    for first in range(0, rows, step):
        place[first : first + step] = value[first : first + step]
        release()
    if not rows:
        place[...] = value


def count_non_finite(array: Host) -> int:
    """How many values of a contiguous array are infinite or NaN; 0 for dtypes that have no such values."""
    if array.dtype.name not in _EXPONENT_BITS:
        return 0
    # What infinities and NaNs have in common is that all exponent bits are set. np.isfinite takes six times as long for
    # bfloat16 (0.78 against 0.12 ns a value), and the largest value is found faster than all are compared.
    mask = _EXPONENT_BITS[array.dtype.name]
    bits = array.reshape(-1).view(f"u{array.dtype.itemsize}")
    chunks = (bits[i : i + _CHECKED_AT_ONCE] & bits.dtype.type(mask) for i in range(0, bits.size, _CHECKED_AT_ONCE))
    return sum(int(np.count_nonzero(chunk == mask)) for chunk in chunks if chunk.max() == mask)


def _initial(row: Row, seed: int) -> Host:
    if row.init == "random" and len(row.shape) > 1:
        return dummy.unit_normal(seed, row.name, row.shape) * np.float32(_HEAD_STD)
    ones = row.init == "random" and row.name.endswith("norm.weight")
    return np.full(row.shape, ones, np.float32)


def _put_on_default_device(path: str, array: Host) -> jax.Array:
    # On CPU, jax takes over a 64-byte aligned numpy array without a copy (0.6 ms against 100 ms for 256 MB) and keeps
    # a reference to it, even with may_alias=False. That is safe for a buffer that the loader made and writes no more.
    # It would not be for a view of the mapped file, which changes when the file does: those are always copied.
    del path
    return jax.device_put(array)


def _let_go_of_host_buffers() -> None:
    # A host buffer that jax has finished copying is freed when jax is handed the next one, which here would be a whole
    # parameter later: two at a time. So it is handed a small one.
    jax.device_put(np.zeros((), np.float32))


def _aligned_empty(shape: tuple[int, ...], dtype: np.dtype) -> Host:
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    raw = np.empty(size + _ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % _ALIGNMENT
    return raw[start : start + size].view(dtype).reshape(shape)

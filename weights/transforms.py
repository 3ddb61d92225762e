"""From checkpoint tensors to one model parameter: small named functions over numpy arrays.

A rule names its transform in a string, `"transpose"` or, with arguments and chained left to right,
`"transpose|rows:0:768"`. Each transform knows the shape it gives, so a table is checked against a checkpoint
before any tensor is read.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import TypeVar

import numpy as np
from jaxtyping import Shaped

T = TypeVar("T")
Shape = tuple[int, ...]
Array = Shaped[np.ndarray, "..."]


@dataclass(frozen=True)
class Transform:
    """What a checkpoint tensor (or several, to be fused) goes through on its way into the model.

    `shape` and `apply` agree: `apply(arrays).shape == shape([a.shape for a in arrays])`. Both raise ValueError, with
    the shapes in the message, where the inputs do not fit. `apply` copies only what it has to: a transpose or a slice
    is a view. `fuses` is true of a transform that takes several tensors.
    """

    shape: Callable[[Sequence[Shape]], Shape]
    apply: Callable[[Sequence[Array]], Array]
    fuses: bool = False


def _one(items: Sequence[T]) -> T:
    if len(items) != 1:
        raise ValueError(f"takes one tensor, not {len(items)}")
    return items[0]


def _identity() -> Transform:
    return Transform(shape=_one, apply=_one)


def _transpose() -> Transform:
    def shape(shapes: Sequence[Shape]) -> Shape:
        only = _one(shapes)
        if len(only) != 2:
            raise ValueError(f"transpose takes a matrix, not shape {only}")
        return only[::-1]

    return Transform(shape, lambda arrays: _one(arrays).T)


def _flatten() -> Transform:
    def shape(shapes: Sequence[Shape]) -> Shape:
        only = _one(shapes)
        if len(only) < 2:
            raise ValueError(f"flatten takes two axes or more, not shape {only}")
        return (only[0], prod(only[1:]))

    return Transform(shape, lambda arrays: _one(arrays).reshape(shape([_one(arrays).shape])))


def _merge() -> Transform:
    def shape(shapes: Sequence[Shape]) -> Shape:
        only = _one(shapes)
        if len(only) < 3:
            raise ValueError(f"merge takes three axes or more, not shape {only}")
        return (only[0] * only[1], *only[2:])

    return Transform(shape, lambda arrays: _one(arrays).reshape(shape([_one(arrays).shape])))


def _rows(start: int, stop: int) -> Transform:
    def shape(shapes: Sequence[Shape]) -> Shape:
        only = _one(shapes)
        if not only or only[0] < stop:
            raise ValueError(f"rows {start} to {stop} of a tensor of shape {only}")
        return (stop - start, *only[1:])

    if not 0 <= start < stop:
        raise ValueError(f"rows:{start}:{stop} names no rows")
    return Transform(shape, lambda arrays: _one(arrays)[start:stop])


def _pick(*rows: int) -> Transform:
    def shape(shapes: Sequence[Shape]) -> Shape:
        only = _one(shapes)
        if not only or only[0] <= max(rows):
            raise ValueError(f"rows {', '.join(map(str, rows))} of a tensor of shape {only}")
        return (len(rows), *only[1:])

    return Transform(shape, lambda arrays: _one(arrays)[list(rows)])


def _difference(subtracted: int, row: int) -> Transform:
    picked = _pick(subtracted, row)

    def apply(arrays: Sequence[Array]) -> Array:
        less, more = picked.apply(arrays).astype(np.float32)
        return (more - less)[None]

    return Transform(lambda shapes: (1, *picked.shape(shapes)[1:]), apply)


def _divide(divisor: int) -> Transform:
    if divisor < 1:
        raise ValueError(f"divide:{divisor} divides by nothing")
    return Transform(_one, lambda arrays: _one(arrays).astype(np.float32) / np.float32(divisor))


def _group_rows(groups: int, start: int, stop: int) -> Transform:
    def shape(shapes: Sequence[Shape]) -> Shape:
        only = _one(shapes)
        if not only or only[0] % groups or only[0] // groups < stop:
            raise ValueError(f"rows {start} to {stop} of each of {groups} parts of a tensor of shape {only}")
        return (groups * (stop - start), *only[1:])

    def apply(arrays: Sequence[Array]) -> Array:
        array = _one(arrays)
        out = shape([array.shape])
        return array.reshape(groups, -1, *array.shape[1:])[:, start:stop].reshape(out)

    if groups < 1 or not 0 <= start < stop:
        raise ValueError(f"group_rows:{groups}:{start}:{stop} names no rows")
    return Transform(shape, apply)


def _concat() -> Transform:
    def shape(shapes: Sequence[Shape]) -> Shape:
        if any(not s or s[1:] != shapes[0][1:] for s in shapes):
            raise ValueError(f"concat joins tensors along their first axis, not shapes {', '.join(map(str, shapes))}")
        return (sum(s[0] for s in shapes), *shapes[0][1:])

    return Transform(shape, np.concatenate, fuses=True)


def _stack() -> Transform:
    def shape(shapes: Sequence[Shape]) -> Shape:
        if any(s != shapes[0] for s in shapes):
            raise ValueError(f"stack takes tensors of one shape, not {', '.join(map(str, shapes))}")
        return (len(shapes), *shapes[0])

    return Transform(shape, np.stack, fuses=True)


ANY = -1  # arguments, at least one
_NAMED: dict[str, tuple[Callable[..., Transform], int, str]] = {
    "identity": (_identity, 0, "the tensor as it is"),
    "transpose": (_transpose, 0, "[in, out] to [out, in]"),
    "flatten": (_flatten, 0, "[out, ...] to [out, in]"),
    "merge": (_merge, 0, "[n, out, in] to [n * out, in]"),
    "rows": (_rows, 2, "rows:START:STOP, a part of a fused tensor"),
    "pick": (_pick, ANY, "pick:ROW:ROW..., rows in the order given"),
    "difference": (_difference, 2, "difference:A:B, row B minus row A in float32, as one row"),
    "divide": (_divide, 1, "divide:N, each value by N, in float32"),
    "group_rows": (_group_rows, 3, "group_rows:GROUPS:START:STOP, the same part of each of GROUPS equal parts"),
    "concat": (_concat, 0, "several tensors joined along their first axis"),
    "stack": (_stack, 0, "several tensors along a new first axis"),
}
NAMES: tuple[str, ...] = tuple(_NAMED)


def _parse_step(step: str) -> Transform:
    name, *arguments = step.split(":")
    if name not in _NAMED:
        raise ValueError(f"unknown transform {name!r}; there are {', '.join(NAMES)}")
    make, count, usage = _NAMED[name]
    wrong_count = not arguments if count == ANY else len(arguments) != count
    if wrong_count or not all(a.isdecimal() for a in arguments):
        raise ValueError(f"transform {step!r} does not read as {name!r}: {usage}")
    return make(*map(int, arguments))


def parse(spec: str) -> Transform:
    """The transform that `spec` names. Raises ValueError where it names none."""
    steps = [_parse_step(step.strip()) for step in spec.split("|")]
    if any(step.fuses for step in steps[1:]):
        raise ValueError(f"in transform {spec!r} only the first step can fuse several tensors")

    def shape(shapes: Sequence[Shape]) -> Shape:
        out = steps[0].shape(shapes)
        for step in steps[1:]:
            out = step.shape([out])
        return out

    def apply(arrays: Sequence[Array]) -> Array:
        out = steps[0].apply(arrays)
        for step in steps[1:]:
            out = step.apply([out])
        return out

    return Transform(shape, apply, fuses=steps[0].fuses)

"""Calls that every release compiles for accelerators; each op lists its own in specs.py."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

Platform = Literal["tpu", "cuda"]


@dataclasses.dataclass(frozen=True)
class Spec:
    """One call of an op.

    Attributes:
        op: folder of the op.
        name: says what is special about it.
        arguments: shapes and dtypes, by position.
        call: the op with everything else given, and `implementation` open.
        platforms: whose kernels take it.
        lean: whether CI compiles it; the rest are compiled before a release.
        donated: the argument whose memory the result takes, if any.
        row_major: positions of arguments that lie as they are indexed, whatever the compiler would prefer.
    """

    op: str
    name: str
    arguments: tuple[Any, ...]
    call: Callable[..., Any]
    platforms: tuple[Platform, ...] = ("tpu", "cuda")
    lean: bool = True
    donated: int | None = None
    row_major: tuple[int, ...] = ()


def platforms_of(dtype: str) -> tuple[Platform, ...]:
    """Whose attention kernels take a dtype: a GPU's multiply 16 bits."""
    return ("tpu",) if dtype == "float32" else ("tpu", "cuda")

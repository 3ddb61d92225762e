"""Calls that every release compiles for accelerators; each op lists its own in specs.py."""

import dataclasses
from collections.abc import Callable, Mapping
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
        implementations: what it is compiled with for each platform.
        lean: whether CI compiles it; the rest are compiled before a release.
        donated: the argument whose memory the result takes, if any.
        row_major: positions of arguments that lie as they are indexed, whatever the compiler would prefer.
    """

    op: str
    name: str
    arguments: tuple[Any, ...]
    call: Callable[..., Any]
    implementations: Mapping[Platform, str] = dataclasses.field(default_factory=lambda: {"tpu": "tpu", "cuda": "gpu"})
    lean: bool = True
    donated: int | None = None
    row_major: tuple[int, ...] = ()


def kernels_for(dtype: str) -> dict[Platform, str]:
    """The attention kernels that take a dtype: a GPU's multiply 16 bits."""
    return {"tpu": "tpu"} if dtype == "float32" else {"tpu": "tpu", "cuda": "gpu"}

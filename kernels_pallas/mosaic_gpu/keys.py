"""Where the kernel's blocks of keys and values come from: what an op tells it."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax

# (destination in shared memory, barrier it arrives at).
CopyValues = Callable[[Any, Any], None]
# The same, and a row of float32 that is added to the scores; None where the source adds nothing.
CopyKeys = Callable[[Any, Any, Any], None]
Refs = tuple[Any, ...]


@runtime_checkable
class Deliver(Protocol):
    """Waits for room in shared memory, then starts the copies of one block."""

    def __call__(self, before: Any, keys: CopyKeys, values: CopyValues, end: Any = None) -> None:
        """Takes how many blocks came before, and of a source with `stale_ends` the first key that is not there."""
        ...


@runtime_checkable
class Keys(Protocol):
    """Where a kernel's blocks of keys and values come from.

    Attributes:
        operands: arrays in global memory that `deliver_all` reads.
        key_copies: copies that fill one block of keys.
        value_copies: copies that fill one block of values.
        adds: whether a row of float32 comes with the keys, and is added to the scores.
        stale_ends: whether a block may end in slots that hold anything; their values are not multiplied then.
    """

    @property
    def operands(self) -> tuple[jax.Array, ...]: ...
    @property
    def key_copies(self) -> int: ...
    @property
    def value_copies(self) -> int: ...
    @property
    def adds(self) -> bool: ...
    @property
    def stale_ends(self) -> bool: ...

    def deliver_all(self, refs: Refs, tile: Any, kv_head: Any, first: Any, stop: Any, deliver: Deliver) -> None:
        """Delivers a tile's blocks, from `first` up to `stop`, in order."""
        ...

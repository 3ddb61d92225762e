"""A matrix that stays in its file: rows are read when they are wanted."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Int, Shaped

from weights.errors import CheckpointError

_LOOKED_AT_ONCE = 16 << 20  # bytes


class FileTable:
    """A matrix [rows, columns] in a mapped file, of which no more is in memory than is being read.

    Threads may read at the same time.

    Attributes:
        shape: rows and columns.
        dtype: what rows are converted to.
    """

    def __init__(
        self,
        path: Path,
        descriptor: int,
        mapped: Shaped[np.ndarray, "rows columns"],
        dtype: np.dtype,
        release: Callable[[], None],
    ):
        """A view of the mapped file at `path`, which is open as `descriptor`; `release` lets go of its pages."""
        self.shape, self.dtype = mapped.shape, dtype
        self._path, self._descriptor, self._release = path, descriptor, release
        # As bytes: a tensor may lie at an address that is none for its dtype.
        self._bytes, self._stored = mapped.view(np.uint8), mapped.dtype
        self._state = self._seen()

    def rows(self, ids: Int[np.ndarray, " N"]) -> Shaped[np.ndarray, "N columns"]:
        """Copies of some rows; ids must be below the number of rows.

        Raises:
            CheckpointError: the file was written to since it was opened.
        """
        self._check()  # what a mapped file has lost cannot be read: the process would be killed
        found = self._bytes[ids]
        self._check()  # what was written meanwhile
        self._release()
        return found.view(self._stored).astype(self.dtype, copy=False)

    def parts(self) -> Iterator[Shaped[np.ndarray, "N columns"]]:
        """All rows in order, some megabytes at a time; each part is looked at before the next is asked for."""
        step = max(1, _LOOKED_AT_ONCE // max(1, self._bytes.shape[1]))
        for first in range(0, len(self._bytes), step):
            yield self._bytes[first : first + step].view(self._stored).astype(self.dtype, copy=False)
            self._release()

    def _seen(self) -> tuple[int, int]:
        state = os.fstat(self._descriptor)
        return state.st_size, state.st_mtime_ns

    def _check(self) -> None:
        if self._seen() != self._state:
            raise CheckpointError(
                f"{self._path} was written to after it was opened, and rows of it are read while the model runs: "
                "load the model again, and save checkpoints into directories that are not in use"
            )

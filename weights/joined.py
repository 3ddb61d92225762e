"""Several checkpoints as one."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Shaped

from weights.file_table import FileTable
from weights.source import FileSource, Source


class JoinedSource:
    """The tensors of several sources; those of all but the main one are called by their source's name and their own.

    Example: "2_Dense/linear.weight" is `linear.weight` of the source "2_Dense".
    """

    def __init__(self, main: Source, others: Mapping[str, Source]) -> None:
        """Joins them."""
        self._where: dict[str, tuple[Source, str]] = {name: (main, name) for name in main.names()}
        for prefix, source in others.items():
            self._where |= {f"{prefix}/{name}": (source, name) for name in source.names()}

    def names(self) -> list[str]:
        """All tensor names."""
        return list(self._where)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor."""
        source, own = self._where[name]
        return source.shape(own)

    def dtype(self, name: str) -> np.dtype:
        """The dtype of a tensor."""
        source, own = self._where[name]
        return source.dtype(own)

    def read(self, name: str) -> Shaped[np.ndarray, "..."]:
        """One tensor; see `Source`."""
        source, own = self._where[name]
        return source.read(own)

    def release(self, name: str) -> None:
        """Lets go of a tensor's memory."""
        source, own = self._where[name]
        source.release(own)

    def table(self, name: str, dtype: np.dtype) -> FileTable:
        """A matrix in its file.

        Raises:
            TypeError: its source has no files.
        """
        source, own = self._where[name]
        if not isinstance(source, FileSource):
            raise TypeError(f"{name} lies in no file")
        return source.table(own, dtype)

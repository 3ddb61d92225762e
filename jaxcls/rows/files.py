"""Durable file operations: appending, replacing, locking."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from jaxcls.rows.errors import RowsError


class AppendedFile:
    """A locked file whose end is known; a failed append leaves it as it was."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file: BinaryIO = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering=0)
        except OSError as problem:
            raise RowsError(f"cannot write {path}: {problem.strerror}") from problem
        try:
            _lock(self._file.fileno(), path)
        except RowsError:
            self._file.close()
            raise
        sync_directory(path.parent)
        self.size = os.fstat(self._file.fileno()).st_size

    def lines(self) -> Iterator[bytes]:
        """The file's lines with their ends."""
        with self.path.open("rb") as stream:
            yield from stream

    def truncate(self, size: int) -> None:
        """Cuts the file off after `size` bytes."""
        self._file.truncate(size)
        self._file.seek(size)
        self.size = size

    def append(self, data: bytes) -> None:
        """Appends `data`, which is on the disk when this returns."""
        try:
            view = memoryview(data)
            while view:
                view = view[self._file.write(view) :]
            os.fsync(self._file.fileno())
        except OSError:  # the disk is full, most likely
            self.truncate(self.size)
            raise
        self.size += len(data)

    def close(self) -> None:
        """Closes and unlocks the file."""
        self._file.close()


def _lock(descriptor: int, path: Path) -> None:
    """Takes the lock of an open output until it is closed; two runs must not write to one file.

    Raises:
        RowsError: another process has it.
    """
    if sys.platform == "win32":
        return
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as problem:
        raise RowsError(f"another run is writing to {path}; wait for it or choose another --output") from problem


class DirectoryLock:
    """The lock of an output that is a directory."""

    def __init__(self, directory: Path, output: Path) -> None:
        self._descriptor: int | None = None
        if sys.platform == "win32":
            return
        self._descriptor = os.open(directory, os.O_RDONLY)
        try:
            _lock(self._descriptor, output)
        except RowsError:
            self.close()
            raise

    def close(self) -> None:
        """Gives the lock back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def sync_directory(path: Path) -> None:
    """Makes the creation, renaming and removal of files in a directory durable."""
    if sys.platform == "win32":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, data: bytes) -> None:
    """Writes a whole file so that at any time either the old or the new content is there."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as stream:
        stream.write(data)
    sync_file(temporary)
    temporary.replace(path)
    sync_directory(path.parent)


def sync_file(path: Path) -> None:
    """Makes the content of a closed file durable."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())

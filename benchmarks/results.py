"""results.jsonl: rows of measurements, machines and ceilings, and the key that makes a run resumable."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

Row = dict[str, Any]


class Key(NamedTuple):
    """What a measurement is of; a second one with the same key is not needed."""

    mode: str
    model: str
    dtype: str
    peer: str
    workload: str
    round: int


def key(row: Row) -> Key:
    """The key of a row of kind "measurement"."""
    return Key(*(row[field] for field in Key._fields))


def read(path: Path) -> list[Row]:
    """All rows; none if there is no such file. A line that a crash cut off is left out."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


def append(path: Path, row: Row) -> None:
    """Adds a row, on a line of its own even if the one before was cut off."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        if file.tell():
            file.seek(-1, 2)
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write(json.dumps(row).encode() + b"\n")


def measurements(rows: Iterable[Row], status: str | None = None) -> Iterator[Row]:
    """The rows that say how a peer did, all or those of one status: ok, failed, unsupported."""
    return (row for row in rows if row["kind"] == "measurement" and status in (None, row["status"]))


def done(rows: Iterable[Row], *, retry_failed: bool) -> set[Key]:
    """Keys that need no measuring."""
    return {key(row) for row in measurements(rows) if not (retry_failed and row["status"] == "failed")}

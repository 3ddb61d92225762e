"""What every peer is given, and what it gives back."""

import abc
import dataclasses
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from benchmarks.workloads import Item, sample

Dtype = Literal["fp32", "bf16", "int8"]
Scores = list[list[float]]

WARM_ITEMS = 8


class UnsupportedError(Exception):
    """This peer cannot do what was asked; the message says why."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """One peer's circumstances.

    Attributes:
        peer: its name in the table of peers.
        model: the checkpoint's directory.
        exports: where this peer keeps what it makes of the checkpoint, once, before anything is measured.
        programs: where it keeps compiled programs between processes; may be empty.
        dtype: what it computes in; int8 is whatever the runtime offers under that name.
        threads: cores it may use.
        streams: batches it runs at a time.
        batch: most items in a batch.
        batch_tokens: most tokens in a batch, padding included.
        max_length: tokens at which items are cut.
    """

    peer: str
    model: Path
    exports: Path
    programs: Path
    dtype: Dtype = "fp32"
    threads: int = 2
    streams: int = 1
    batch: int = 8
    batch_tokens: int = 16384
    max_length: int = 512

    @property
    def config(self) -> dict[str, Any]:
        """The checkpoint's config.json."""
        return json.loads((self.model / "config.json").read_text())


class Peer(abc.ABC):
    """One runtime with one model loaded; loading happens in the constructor, importing at the module's top."""

    scores: ClassVar[Literal["logits", "probs"]] = "logits"

    @abc.abstractmethod
    def run(self, items: Sequence[Item]) -> Scores:
        """Scores every item, tokenisation included; C scores an item, in the order of the items."""

    def warm(self, items: Sequence[Item]) -> None:
        """Gets everything that happens once out of the way; by default a sample over the range of lengths."""
        self.run(sample(sorted(items, key=characters), WARM_ITEMS))


def make_once(folder: Path, make: Callable[[Path], None]) -> None:
    """Lets `make` fill a folder that is not there yet; what an interrupted process leaves is not taken for complete."""
    if folder.exists():
        return
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    make(partial)
    partial.rename(folder)


def characters(item: Item) -> int:
    """Length of an item's text, a stand-in for its tokens."""
    return len(item) if isinstance(item, str) else sum(map(len, item))


def split_pairs(items: Sequence[Item]) -> tuple[list[str], list[str] | None]:
    """Texts and None, or the first and the second texts of pairs."""
    firsts = [item if isinstance(item, str) else item[0] for item in items]
    seconds = [item[1] for item in items if not isinstance(item, str)]
    return firsts, seconds or None


def only_texts(items: Sequence[Item]) -> list[str]:
    """The items of a workload of texts."""
    return [item for item in items if isinstance(item, str)]


def only_pairs(items: Sequence[Item]) -> list[tuple[str, str]]:
    """The items of a workload of pairs."""
    return [item for item in items if not isinstance(item, str)]


def labels(config: dict[str, Any]) -> int:
    """C of a config.json."""
    return len(config["id2label"])

"""Peers that map padded arrays to scores: tokenise once, sort by length, cut into batches, pad each to its longest."""

import abc
import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.peers.base import Peer, Scores, Settings, split_pairs
from benchmarks.workloads import Item


class Tokens(NamedTuple):
    """Token ids of every item; token types where the model has any."""

    ids: list[list[int]]
    types: list[list[int]] | None


class Batch(NamedTuple):
    """Items that run together and their arrays, int64 [rows, width]."""

    indices: list[int]
    arrays: dict[str, np.ndarray]


class HubTokenizer:
    """The tokenizer that transformers gives, as most programs use it."""

    def __init__(self, model: Path, max_length: int):
        from transformers import AutoTokenizer

        self._tokenizer = AutoTokenizer.from_pretrained(model)
        self._max_length = max_length
        self.pad_id: int = self._tokenizer.pad_token_id

    def __call__(self, items: Sequence[Item]) -> Tokens:
        firsts, seconds = split_pairs(items)
        encoded = self._tokenizer(
            firsts, seconds, truncation=True, max_length=self._max_length, return_attention_mask=False
        )
        return Tokens(encoded["input_ids"], encoded.get("token_type_ids"))


class FileTokenizer:
    """The same tokenizer.json without transformers: what a program does that has to start fast."""

    def __init__(self, model: Path, max_length: int, pad_id: int):
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
        self._tokenizer.enable_truncation(max_length)
        self.pad_id = pad_id

    def __call__(self, items: Sequence[Item]) -> Tokens:
        encoded = self._tokenizer.encode_batch(list(items))
        return Tokens([e.ids for e in encoded], [e.type_ids for e in encoded])


class Batched(Peer):
    """A peer that has only `forward` to say."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self.has_types = settings.config["model_type"] == "bert"
        if settings.peer.endswith("-lean"):
            self.tokenizer = FileTokenizer(settings.model, settings.max_length, settings.config["pad_token_id"])
        else:
            self.tokenizer = HubTokenizer(settings.model, settings.max_length)

    @abc.abstractmethod
    def forward(self, arrays: dict[str, np.ndarray]) -> np.ndarray:
        """Scores [rows, C] of one batch."""

    def run(self, items: Sequence[Item]) -> Scores:
        """Scores every item."""
        tokens = self.tokenizer(items)
        scores: Scores = [[]] * len(items)
        for indices, rows in self.forward_all(batches(tokens, self.settings, self.tokenizer.pad_id, self.has_types)):
            for index, row in zip(indices, rows.tolist(), strict=True):
                scores[index] = row
        return scores

    def forward_all(self, todo: Iterator[Batch]) -> Iterator[tuple[list[int], np.ndarray]]:
        """Indices and scores of every batch; `streams` batches at a time."""
        if self.settings.streams == 1:
            yield from ((batch.indices, self.forward(batch.arrays)) for batch in todo)
            return
        with ThreadPoolExecutor(self.settings.streams) as pool:
            yield from pool.map(lambda batch: (batch.indices, self.forward(batch.arrays)), todo)


def input_names(model_type: str) -> list[str]:
    """What a model's forward takes."""
    return ["input_ids", "attention_mask"] + (["token_type_ids"] if model_type == "bert" else [])


def batches(tokens: Tokens, settings: Settings, pad_id: int, has_types: bool) -> Iterator[Batch]:
    """Batches from the longest item to the shortest, of at most `batch` items and `batch_tokens` tokens."""
    lengths = list(map(len, tokens.ids))
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    start = 0
    while start < len(order):
        width = lengths[order[start]]
        indices = order[start : start + max(1, min(settings.batch, settings.batch_tokens // width))]
        start += len(indices)
        arrays = {"input_ids": _padded([tokens.ids[i] for i in indices], width, pad_id)}
        arrays["attention_mask"] = _padded([[1] * lengths[i] for i in indices], width, 0)
        if has_types:
            types = tokens.types or list(itertools.repeat([], len(lengths)))
            arrays["token_type_ids"] = _padded([types[i] for i in indices], width, 0)
        yield Batch(indices, arrays)


def _padded(rows: list[list[int]], width: int, value: int) -> np.ndarray:
    array = np.full((len(rows), width), value, np.int64)
    for row, values in zip(array, rows, strict=True):
        row[: len(values)] = values
    return array

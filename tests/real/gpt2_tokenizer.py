"""The tokenizer of GPT-2."""

import functools
import json
from pathlib import Path

from tests.real.byte_level import Vocabulary, contents, write
from tests.real.packages import GPT2


def gpt2_tokenizer(directory: Path) -> None:
    """Writes tokenizer.json and tokenizer_config.json as published; the test is skipped where there is no network."""
    vocabulary, name = gpt2_vocabulary(), "<|endoftext|>"
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True}
    tokenizer = {
        **{"version": "1.0", "truncation": None, "padding": None},
        "added_tokens": [{"id": vocabulary.ids[name], "special": True, "content": name, **flags}],
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True},
        "post_processor": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False},
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True},
        "model": {
            **{"dropout": None, "unk_token": None, "continuing_subword_prefix": "", "end_of_word_suffix": ""},
            **{"fuse_unk": False, "vocab": vocabulary.ids, "merges": vocabulary.merge_lines},
        },
    }
    write(directory, tokenizer, {"model_max_length": 1024}, compact=True)


@functools.cache
def gpt2_vocabulary() -> Vocabulary:
    """vocab.json and merges.txt, under the names that OpenAI gave them."""
    ids, merges = contents(GPT2, "package/encoder.json", "package/vocab.bpe")
    lines = (line.split() for line in merges.splitlines()[1:])
    return Vocabulary(json.loads(ids), [(left, right) for left, right in lines])

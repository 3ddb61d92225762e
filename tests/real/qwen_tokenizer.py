"""The tokenizers of Qwen2, Qwen2.5 and Qwen3: one vocabulary, more added tokens each time."""

import base64
import functools
from pathlib import Path
from typing import Any, Literal

from tests.inputs.tokenizer_files import added
from tests.real.byte_level import Vocabulary, contents, from_ranks, write
from tests.real.packages import QWEN

Series = Literal["Qwen2", "Qwen2.5", "Qwen3"]

_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
# Ids follow the vocabulary. The special ones are those that decoding can leave out.
_SPECIAL = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>"),
    *("<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>"),
    *("<|image_pad|>", "<|video_pad|>"),
)
_ORDINARY = (
    *("<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>"),
    *("<|repo_name|>", "<|file_sep|>", "<tool_response>", "</tool_response>", "<think>", "</think>"),
)
_NUM_ADDED: dict[Series, int] = {"Qwen2": 3, "Qwen2.5": 22, "Qwen3": 26}


def qwen_tokenizer(directory: Path, series: Series = "Qwen3") -> None:
    """Writes tokenizer.json and tokenizer_config.json; the test is skipped where there is no network.

    tokenizer.json is the published one, byte for byte; tokenizer_config.json lacks the chat template.
    """
    vocabulary = _vocabulary()
    names = dict(enumerate((*_SPECIAL, *_ORDINARY)[: _NUM_ADDED[series]], start=len(vocabulary.ids)))
    write(directory, _tokenizer(vocabulary, names, newer=series == "Qwen3"), _config(names))


def _tokenizer(vocabulary: Vocabulary, names: dict[int, str], *, newer: bool) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    tokens = [{"id": i, "content": name, **flags, "special": name in _SPECIAL} for i, name in names.items()]
    split = {"type": "Split", "pattern": {"Regex": _SPLIT}, "behavior": "Isolated", "invert": False}
    model = {
        **{"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": ""},
        **{"end_of_word_suffix": "", "fuse_unk": False, "byte_fallback": False},
        **({"ignore_merges": False} if newer else {}),
        "vocab": vocabulary.ids,
        "merges": vocabulary.merges if newer else vocabulary.merge_lines,
    }
    return {
        **{"version": "1.0", "truncation": None, "padding": None, "added_tokens": tokens},
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, _BYTES]},
        **{"post_processor": _BYTES, "decoder": _BYTES, "model": model},
    }


def _config(names: dict[int, str]) -> dict[str, Any]:
    return {
        "add_bos_token": False,
        "add_prefix_space": False,
        "added_tokens_decoder": {str(i): added(name, special=name in _SPECIAL) for i, name in names.items()},
        "additional_special_tokens": [name for name in list(names.values())[1:] if name in _SPECIAL],
        "bos_token": None,
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "errors": "replace",
        "model_max_length": 131072,
        "pad_token": "<|endoftext|>",
        "split_special_tokens": False,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    }


@functools.cache
def _vocabulary() -> Vocabulary:
    (text,) = contents(QWEN, "qwen_tokenizer/resources/qwen.tiktoken")
    lines = (line.split() for line in text.splitlines())
    return from_ranks({base64.b64decode(token): int(rank) for token, rank in lines})

# pyright: reportMissingImports=false
"""Tokenizers of the kinds that BERT, XLM-RoBERTa and Qwen have, trained on what comes with the running Python."""

import collections
import json
import math
import os
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

SUFFIXES = (".py", ".txt", ".md", ".rst", ".html")
SPACE = "\u2581"  # what stands for a blank in a Unigram vocabulary
QWEN_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def corpus() -> list[str]:
    """Paragraphs of the documentation topics and of all text files in the standard library's folder, in fixed order."""
    return [paragraph for text in _texts() for paragraph in text.split("\n\n")]


def _texts() -> Iterator[str]:
    from pydoc_data.topics import topics

    yield from (topics[key] for key in sorted(topics))
    for folder, _, names in sorted(os.walk(sysconfig.get_paths()["stdlib"])):
        for name in sorted(names):
            if name.endswith(SUFFIXES):
                try:
                    with open(Path(folder) / name, encoding="utf-8") as file:
                        yield file.read(200_000)
                except (UnicodeDecodeError, OSError):
                    continue


def wordpiece(texts: Sequence[str], folder: Path) -> None:
    """BERT's: lower case, 30,522 pieces at most."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer: Any = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=30522, min_frequency=2, show_progress=False, special_tokens=special)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")],
    )
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), special, strict=True))
    _save(tokenizer, folder, "BertTokenizer", {**names, "do_lower_case": True, "model_max_length": 512})


def unigram(texts: Sequence[str], folder: Path) -> None:
    """XLM-RoBERTa's kind, its pieces counted instead of trained: characters, frequent parts of words, frequent words.

    The trainer of this kind takes many minutes, and only the kind, the size and the speed matter here.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    special = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    tokenizer: Any = Tokenizer(models.Unigram([*special, *_counted(texts), ("<mask>", 0.0)], 3, False))
    tokenizer.add_special_tokens([name for name, _ in special] + ["<mask>"])
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace("  ", " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "sep_token": "</s>", "cls_token": "<s>"}
    names |= {"pad_token": "<pad>", "mask_token": "<mask>"}
    _save(tokenizer, folder, "PreTrainedTokenizerFast", {**names, "model_max_length": 512})


def _counted(texts: Sequence[str]) -> list[tuple[str, float]]:
    """Pieces with the logarithms of their weights, the likeliest first."""
    words = collections.Counter(word for text in texts for word in text.split())
    total = sum(words.values())
    characters: collections.Counter[str] = collections.Counter()
    for word, count in words.items():
        for character in SPACE + word:
            characters[character] += count
    parts: collections.Counter[str] = collections.Counter()
    for word, count in words.most_common(40_000):
        piece = SPACE + word[:24]
        for start in range(len(piece)):
            for end in range(start + 2, min(len(piece), start + 8) + 1):
                parts[piece[start:end]] += count
    weights = {character: count / total / 50 for character, count in characters.items()}
    weights |= {part: count / total / 20 for part, count in parts.most_common(8_000)}
    weights |= {SPACE + word: count / total for word, count in words.most_common(22_000)}
    pieces = [(piece, math.log(weight)) for piece, weight in weights.items()]
    return sorted(pieces, key=lambda pair: (-pair[1], pair[0]))


def bytebpe(texts: Sequence[str], folder: Path) -> None:
    """Qwen's: byte-level BPE, 30,000 pieces, no special tokens around a text."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer: Any = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=30_000,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    names = {"pad_token": "<|endoftext|>", "eos_token": "<|im_end|>", "model_max_length": 32768}
    _save(tokenizer, folder, "PreTrainedTokenizerFast", names)


def _save(tokenizer: Any, folder: Path, kind: str, options: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": kind, **options}, indent=1))

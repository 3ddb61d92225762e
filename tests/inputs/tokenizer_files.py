"""Small tokenizers of the kinds that classifiers have, and the files that hold them."""

import json
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

CORPUS = ["the cat sat on the mat and the dog ran after the cat", "a very good film, but a bad ending"] * 3
WORDS = "the cat sat on mat and dog ran after a very good film but bad ending , . ! é".split()


def wordpiece(*, lowercase: bool = True) -> Tokenizer:
    """BERT: [CLS] a [SEP] b [SEP], token types 0 and 1."""
    letters = list(string.ascii_letters)
    pieces = dict.fromkeys(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS, *letters, *(f"##{x}" for x in letters)])
    tokenizer = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return tokenizer


def byte_level(*special: str) -> Tokenizer:
    """Byte-level BPE with these special tokens, none of which is added to texts (Qwen)."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(
            vocab_size=300,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            special_tokens=list(special or ("<pad>",)),
            show_progress=False,
        ),
    )
    return tokenizer


def with_eos() -> Tokenizer:
    """Byte-level BPE, a <eos> and a <eos> b <eos>."""
    tokenizer = byte_level("<pad>", "<eos>")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <eos>", pair="$A <eos> $B:1 <eos>:1", special_tokens=[("<eos>", 1)]
    )
    return tokenizer


def roberta() -> Tokenizer:
    """Byte-level BPE, <s> a </s></s> b </s>."""
    tokenizer = byte_level("<s>", "<pad>", "</s>")
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return tokenizer


def gemma(corpus: list[str]) -> Tokenizer:
    """BPE of words with their space as ▁, other characters as bytes (Gemma), <bos> a."""
    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizers.Replace(" ", "▁")
    trained.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    trained.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=400, show_progress=False))
    model = json.loads(trained.to_str())["model"]
    special = ["<pad>", "<eos>", "<bos>", "<unk>"]
    pieces = dict.fromkeys([*special, *(f"<0x{byte:02X}>" for byte in range(256)), *model["vocab"]])
    tokenizer = Tokenizer(
        models.BPE(
            vocab={piece: i for i, piece in enumerate(pieces)},
            merges=[(left, right) for left, right in model["merges"]],
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    tokenizer.normalizer = trained.normalizer
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens(special)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A <bos> $B", special_tokens=[("<bos>", 2)]
    )
    return tokenizer


KINDS: dict[str, Callable[[], Tokenizer]] = {
    "wordpiece": wordpiece,
    "byte_level": byte_level,
    "with_eos": with_eos,
    "roberta": roberta,
}
# Special tokens that each adds before and after a single text.
AROUND: dict[str, tuple[int, int]] = {
    "wordpiece": (1, 1),
    "byte_level": (0, 0),
    "with_eos": (0, 1),
    "roberta": (1, 1),
}


def save(tokenizer: Tokenizer, path: Path, config: dict[str, Any] | None = None) -> Path:
    """tokenizer.json and, if there is a config, tokenizer_config.json."""
    path.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(path / "tokenizer.json"))
    if config is not None:
        (path / "tokenizer_config.json").write_text(json.dumps(config))
    return path


def added(content: str, *, special: bool = True) -> dict[str, Any]:
    """An entry of tokenizer_config.json's added_tokens_decoder."""
    flags = dict.fromkeys(("lstrip", "rstrip", "single_word", "normalized"), False)
    assert AddedToken(content, special=special, **flags).content == content
    return {"content": content, "special": special, **flags}

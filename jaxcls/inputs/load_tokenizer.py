"""A checkpoint's tokenizer files -> the Rust tokenizer.

tokenizer.json is the whole tokenizer, so it is read directly; importing transformers costs a second. Only when
tokenizer_config.json asks for something that the file does not do is the tokenizer built by transformers.
"""

import dataclasses
from pathlib import Path
from typing import Any, Literal

from tokenizers import Tokenizer, processors

from jaxcls.config.files import read_json
from jaxcls.errors import ConfigError

_REMEDY = "give tokenizer=<directory or hub id>, or skip_tokenizer_init=True and token ids as prompts"


@dataclasses.dataclass(frozen=True)
class TokenizerFiles:
    """What the tokenizer's files say.

    Attributes:
        path: where they are.
        backend: the tokenizer, without truncation or padding of its own.
        side: the end that truncation cuts.
        token_types: whether the model is given the token types of pairs; some files say that it is not.
        unk_token: the token of what the vocabulary lacks, if the files name one.
    """

    path: Path
    backend: Tokenizer
    side: Literal["left", "right"]
    token_types: bool
    unk_token: str | None = None


def load_tokenizer(path: Path) -> TokenizerFiles:
    """Reads the tokenizer of a checkpoint directory.

    Raises:
        ConfigError: no tokenizer files, or files that give no fast tokenizer.
    """
    config = read_json(path / "tokenizer_config.json")
    backend = _from_file(path / "tokenizer.json")
    if backend is None or _contradicted(backend, config):
        backend = _from_transformers(path)
    _neutralise(backend)
    side = config.get("truncation_side", "right")
    if side not in ("left", "right"):
        raise ConfigError(f"{path / 'tokenizer_config.json'}: truncation_side = {side!r}; known are left and right")
    inputs = config.get("model_input_names")
    types = inputs is None or "token_type_ids" in inputs
    return TokenizerFiles(path, backend, side, types, _content(config.get("unk_token")))


def token_id(backend: Tokenizer, text: str, *, whole: bool) -> int:
    """The one token that a word is.

    Args:
        backend: the tokenizer.
        text: a word; `whole`: an entry of the vocabulary as it stands.
        whole: which of the two.

    Raises:
        ConfigError: it is no entry, or not one token.
    """
    ids = backend.encode(text, add_special_tokens=False).ids
    if whole:
        found = backend.token_to_id(text)
        if found is None:
            raise ConfigError(f"token {text!r} is not in the vocabulary of this tokenizer")
        if text.isalnum() and len(ids) > 1 and found not in ids:
            pieces = [backend.id_to_token(i) for i in ids]
            raise ConfigError(
                f"token {text!r} is in the vocabulary, but this tokenizer never gives it: it splits the word into "
                f"{pieces}"
            )
        return found
    if len(ids) != 1:
        other = text.strip() if text != text.strip() else f" {text}"
        one = len(backend.encode(other, add_special_tokens=False).ids) == 1
        pieces = [backend.id_to_token(i) for i in ids]
        hint = f"{other!r} is one token" if one else "choose a word that is one token"
        raise ConfigError(f"the word {text!r} is {len(ids)} tokens, {pieces}, so it has no logit of its own: {hint}")
    return ids[0]


def _from_file(path: Path) -> Tokenizer | None:
    if not path.is_file():
        return None
    try:
        backend = Tokenizer.from_file(str(path))
    except Exception as error:  # the Rust side raises bare Exception
        raise ConfigError(f"{path} cannot be read: {error}") from None
    _neutralise(backend)
    return backend


def _neutralise(backend: Tokenizer) -> None:
    """Switches off truncation and padding stored in the file, and makes the default token types explicit."""
    backend.no_truncation()
    backend.no_padding()
    if backend.post_processor is None:
        # Otherwise `post_process`, unlike `encode`, gives the second text of a pair type 0.
        backend.post_processor = processors.TemplateProcessing(single="$A:0", pair="$A:0 $B:1", special_tokens=[])


def _contradicted(backend: Tokenizer, config: dict[str, Any]) -> bool:
    """Whether tokenizer_config.json asks for what tokenizer.json does not do."""
    ids = backend.encode("a").ids
    for flag, token, at in (("add_bos_token", "bos_token", 0), ("add_eos_token", "eos_token", -1)):
        wanted, name = config.get(flag), _content(config.get(token))
        if wanted is not None and name is not None:
            present = bool(ids) and ids[at] == backend.token_to_id(name)
            if present != wanted:
                return True
    lower = config.get("do_lower_case")
    if lower is not None and (backend.encode("A").ids == ids) != lower:
        return True
    added = backend.get_added_tokens_decoder()
    declared = config.get("added_tokens_decoder") or {}
    return any(int(i) not in added and backend.id_to_token(int(i)) != _content(t) for i, t in declared.items())


def _content(token: Any) -> str | None:
    return token.get("content") if isinstance(token, dict) else token


def _from_transformers(path: Path) -> Tokenizer:
    from transformers import AutoTokenizer

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(str(path), local_files_only=True)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ConfigError(f"{path} has no usable tokenizer ({error}); {_REMEDY}") from None
    if not _has_vocabulary(path, tokenizer):
        raise ConfigError(f"{path} has no tokenizer: no file holds a vocabulary; {_REMEDY}")
    backend = tokenizer.backend_tokenizer if tokenizer.is_fast else None
    if backend is None:
        raise ConfigError(f"{path}: {type(tokenizer).__name__} has no fast tokenizer; save one with transformers")
    return backend


def _has_vocabulary(path: Path, tokenizer: Any) -> bool:
    """Whether any file holds the vocabulary. Where there is none, transformers makes one of special tokens only."""
    names = set(tokenizer.vocab_files_names.values())
    return any(file.name in names or file.suffix in (".model", ".tiktoken") for file in path.iterdir())

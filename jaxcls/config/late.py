"""Late interaction (ColBERT): how queries and documents are prepared, by the names of PyLate."""

import dataclasses
import string
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jaxcls.errors import ConfigError

# By the last word of a setting's name; a text has two special tokens and a prefix at least.
_KINDS: dict[str, Callable[[Any], bool]] = {
    "prefix": lambda value: isinstance(value, str),
    "length": lambda value: type(value) is int and value > 3,
    "expansion": lambda value: isinstance(value, bool),
    "tokens": lambda value: isinstance(value, bool),
    "words": lambda value: isinstance(value, list) and all(isinstance(word, str) for word in value),
}


@dataclasses.dataclass(frozen=True)
class LateInteraction:
    """What is done to texts whose tokens are embedded each; defaults are PyLate's.

    Attributes:
        query_prefix: the token after the first of a query; "": none.
        document_prefix: the same of a document.
        query_length: tokens of a query, to which it is cut.
        document_length: the same of a document.
        do_query_expansion: whether a shorter query is filled with [MASK].
        attend_to_expansion_tokens: whether the tokens of the query see these.
        skiplist_words: tokens whose embeddings a document does without.
    """

    query_prefix: str = "[Q] "
    document_prefix: str = "[D] "
    query_length: int = 32
    document_length: int = 180
    do_query_expansion: bool = True
    attend_to_expansion_tokens: bool = False
    skiplist_words: tuple[str, ...] = tuple(string.punctuation)


def read_late(settings: Mapping[str, Any], source: Path) -> LateInteraction:
    """The settings in a file; null and absent keys have PyLate's defaults.

    Raises:
        ConfigError: a value of the wrong type.
    """
    values = {f.name: settings[f.name] for f in dataclasses.fields(LateInteraction) if settings.get(f.name) is not None}
    for name, value in values.items():
        if not _KINDS[name.rsplit("_", maxsplit=1)[-1]](value):
            raise ConfigError(f"{source}: {name} = {value!r} cannot be honoured")
    if "skiplist_words" in values:
        values["skiplist_words"] = tuple(values["skiplist_words"])
    return LateInteraction(**values)

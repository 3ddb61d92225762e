"""Causal language models as classifiers: which rows of the output matrix become the head, and why.

The formulas are those of vLLM's `classifier_from_token`: a softmax over two logits is a sigmoid of their difference,
and a difference of logits is a product with the difference of the rows.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from jaxcls.config.rerankers import Method, Reranker
from jaxcls.errors import ConfigError

_KEYS = ("classifier_from_token", "method", "is_original_qwen3_reranker", "use_sep_token", "use_pad_token")
_CAUSAL = ("ForCausalLM", "LMHeadModel")
# Suffixes that are replaced by ForSequenceClassification.
CONVERTED = (*_CAUSAL, "ForMaskedLM", "ForPreTraining", "Model")


@dataclasses.dataclass(frozen=True)
class Words:
    """The words whose rows become the head.

    Attributes:
        texts: one each row; of `from_2_way_softmax` the false and the true one.
        method: how rows become the head.
        names: of the classes, in the order of the logits.
        whole: whether each is an entry of the vocabulary as it stands (`classifier_from_token`), or text that has to
            tokenise to one token.
        reason: who said so.
        divisor: of the logits.
    """

    texts: tuple[str, ...]
    method: Method
    names: tuple[str, ...]
    whole: bool
    reason: str
    divisor: int = 1


@dataclasses.dataclass(frozen=True)
class HeadRows:
    """Rows of the output matrix that become the head's, by number.

    Attributes:
        token_ids: in the order of the classes; of `from_2_way_softmax` the false and the true one.
        method: how rows become the head.
        divisor: of what they become, so that files converted from it give the same logits.
    """

    token_ids: tuple[int, ...]
    method: Method
    divisor: int = 1

    @property
    def transform(self) -> str:
        """What `weights.transforms` calls it."""
        name = "difference" if self.method == "from_2_way_softmax" else "pick"
        rows = ":".join((name, *map(str, self.token_ids)))
        return rows if self.divisor == 1 else f"{rows}|divide:{self.divisor}"


def take_keys(values: dict[str, Any]) -> dict[str, Any]:
    """Takes the keys of vLLM's converter out of config.json, wherever they are: top level first, then `text_config`."""
    inner = values.get("text_config")
    found: dict[str, Any] = {}
    for place in (values, inner if isinstance(inner, dict) else {}):
        for key in _KEYS:
            value = place.pop(key, None)
            if value is not None:
                found.setdefault(key, value)
    if inner == {}:
        del values["text_config"]
    return found


def concatenates(given: Mapping[str, Any]) -> bool | None:
    """Whether pairs are one text after the other, with nothing between, as `use_sep_token` says; None: nobody says.

    Raises:
        ConfigError: it is neither true nor false.
    """
    value = given.get("use_sep_token", given.get("use_pad_token"))  # its older name
    if value not in (None, True, False):
        raise ConfigError(f"use_sep_token must be true or false, got {value!r}")
    return None if value is None else not value


def read_words(
    given: Mapping[str, Any],
    values: Mapping[str, Any],
    architecture: str,
    reranker: Reranker | None,
    labels: Mapping[str, str] | Sequence[str] | None,
) -> Words | None:
    """The words that the caller, config.json or the name of a published reranker say; None: the head is a checkpoint's.

    Args:
        given: what `take_keys` found.
        values: config.json after overrides.
        architecture: its class name.
        reranker: the published one that this is.
        labels: `LLM`'s argument: class name -> text, or texts that are their own names.

    Raises:
        ConfigError: words that contradict each other or the method.
    """
    tokens, method = given.get("classifier_from_token"), given.get("method")
    if given.get("is_original_qwen3_reranker"):
        method = method or "from_2_way_softmax"
    if labels is not None:
        if tokens is not None or method is not None:
            named = sorted(given.keys() & {"classifier_from_token", "method", "is_original_qwen3_reranker"})
            raise ConfigError(f"labels and hf_overrides {named} both say what the head is; give one of them")
        return _from_labels(labels, architecture)
    if tokens is None:
        if method is not None:
            raise ConfigError(f"method = {method!r} needs classifier_from_token: the tokens whose rows become the head")
        return _published(reranker, architecture)
    return _from_tokens(tokens, method, values)


def _from_tokens(tokens: Any, method: Any, values: Mapping[str, Any]) -> Words:
    texts = tuple(tokens) if isinstance(tokens, list | tuple) else ()
    if not texts or not all(isinstance(text, str) for text in texts):
        raise ConfigError(f"classifier_from_token must be a list of tokens, got {tokens!r}")
    if method not in ("from_2_way_softmax", "no_post_processing"):
        raise ConfigError(
            f"classifier_from_token needs a method: 'from_2_way_softmax' (two tokens, false and true, one score) or "
            f"'no_post_processing' (a class a token); got {method!r}"
        )
    if method == "from_2_way_softmax" and len(texts) != 2:
        raise ConfigError(f"from_2_way_softmax takes two tokens, the false and the true one; got {list(texts)}")
    names = texts[1:] if method == "from_2_way_softmax" else texts
    return Words(texts, method, _names(values, texts, names), True, "classifier_from_token")


def _names(values: Mapping[str, Any], texts: tuple[str, ...], names: tuple[str, ...]) -> tuple[str, ...]:
    """Names from an `id2label` for exactly these classes, its keys numbers or the tokens; else the tokens."""
    id2label = values.get("id2label")
    if not isinstance(id2label, Mapping) or len(id2label) != len(names):
        return names
    for keys in ([str(i) for i in range(len(names))], list(texts)):
        by_key = {str(key): str(name) for key, name in id2label.items()}
        if set(by_key) == set(keys) and not all(re.fullmatch(r"LABEL_\d+", name) for name in by_key.values()):
            return tuple(by_key[key] for key in keys)
    return names


def _from_labels(labels: Mapping[str, str] | Sequence[str], architecture: str) -> Words:
    if not architecture.endswith(_CAUSAL):
        raise ConfigError(
            f"labels makes a classifier of a causal language model; {architecture} is none. A classifier has its own "
            "labels; for others of your choice, use an NLI model with LLM.zero_shot"
        )
    if isinstance(labels, str) or not isinstance(labels, Mapping | Sequence):
        raise ConfigError(f"labels must map class names to words, or list the words; got {labels!r}")
    words = dict(labels) if isinstance(labels, Mapping) else {word: word for word in labels}
    if not all(isinstance(part, str) and part for pair in words.items() for part in pair):
        raise ConfigError(f"labels: names and words must be strings that are not empty; got {labels!r}")
    if len(words) < 2 or len(set(words.values())) < len(labels):
        raise ConfigError(f"labels needs two different words at least; got {labels!r}")
    names = tuple(name.strip() for name in words)
    return Words(tuple(words.values()), "no_post_processing", names, False, "labels")


def _published(reranker: Reranker | None, architecture: str) -> Words | None:
    if reranker is None or not reranker.words or not architecture.endswith(_CAUSAL):
        return None
    names = reranker.words[1:] if reranker.method == "from_2_way_softmax" else reranker.words
    return Words(reranker.words, reranker.method, names, True, reranker.name, reranker.divisor)

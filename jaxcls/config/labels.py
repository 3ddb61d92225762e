"""Class names and the problem type, as config.json gives them."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from jaxcls.errors import ConfigError

ProblemType = Literal["regression", "single_label_classification", "multi_label_classification"]
_PROBLEM_TYPES = ("regression", "single_label_classification", "multi_label_classification")


@dataclasses.dataclass(frozen=True)
class Labels:
    """Names of the C classes in the order of the logits, and what kind of problem they are."""

    names: tuple[str, ...]
    problem_type: ProblemType | None = None

    def index(self, name: str) -> int:
        """Position of a label.

        Raises:
            ConfigError: no such label; the message lists them.
        """
        if name not in self.names:
            raise ConfigError(f"unknown label {name!r}; this model has {', '.join(self.names)}")
        return self.names.index(name)


def read_labels(values: Mapping[str, Any], source: str) -> Labels:
    """Labels from `id2label` (keys may be strings or integers), else `num_labels`, else two.

    Of a config of several parts, from its top level, or where that has none or two without a name, from `text_config`.

    Raises:
        ConfigError: ids that are not 0..C-1, names that disagree with `label2id` or `num_labels`, or an unknown
            `problem_type`.
    """
    names = _names(values, source)
    inner = values.get("text_config")
    if isinstance(inner, Mapping) and names == generic_names(2) and inner.keys() & {"id2label", "num_labels"}:
        names = _names(inner, f"{source}, text_config")
        values = {"problem_type": inner.get("problem_type"), **values}
    problem_type = values.get("problem_type")
    if problem_type not in (None, *_PROBLEM_TYPES):
        raise ConfigError(f"{source}: problem_type = {problem_type!r}; known are {', '.join(_PROBLEM_TYPES)}")
    return Labels(names, problem_type)


def generic_names(count: int) -> tuple[str, ...]:
    """The names of classes that have none."""
    return tuple(f"LABEL_{i}" for i in range(count))


def _names(values: Mapping[str, Any], source: str) -> tuple[str, ...]:
    id2label, num_labels = values.get("id2label"), values.get("num_labels")
    if id2label is None:
        count = 2 if num_labels is None else num_labels
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ConfigError(f"{source}: num_labels = {count!r} must be a positive integer")
        return generic_names(count)
    try:
        by_id = {int(key): str(name) for key, name in id2label.items()}
    except (AttributeError, ValueError, TypeError):
        raise ConfigError(f"{source}: id2label must map class ids to names, got {id2label!r}") from None
    if not by_id or sorted(by_id) != list(range(len(by_id))):
        raise ConfigError(f"{source}: the ids of id2label must be 0..{max(len(by_id) - 1, 0)}, got {sorted(by_id)}")
    if num_labels is not None and num_labels != len(by_id):
        raise ConfigError(f"{source}: num_labels = {num_labels}, but id2label names {len(by_id)} classes")
    names = tuple(by_id[i] for i in range(len(by_id)))
    _check_label2id(values.get("label2id") or {}, names, source)
    return names


def _check_label2id(label2id: Any, names: tuple[str, ...], source: str) -> None:
    """Many checkpoints carry a label2id that repeats LABEL_i beside real names; only contradictions matter."""
    if not isinstance(label2id, Mapping):
        raise ConfigError(f"{source}: label2id must map names to class ids, got {label2id!r}")
    if not set(label2id) & set(names):
        return
    right = {(name, str(i)) for i, name in enumerate(names)}
    wrong = {name: i for name, i in label2id.items() if (name, str(i)) not in right}
    if wrong:
        raise ConfigError(f"{source}: label2id entries {wrong} contradict id2label {dict(enumerate(names))}")

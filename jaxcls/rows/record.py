"""Output rows: what is written for each row of the input, and how it looks in JSON and in flat columns."""

import base64
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jaxcls.errors import PromptError
from jaxcls.outputs import ClassificationRequestOutput
from jaxcls.rows.errors import RowsError
from jaxcls.rows.readers import InputRow, Prompt

JSON_NAMES = ("row", "label", "score", "probs", "logits", "error")


@dataclass(frozen=True)
class Classifier:
    """A loaded model.

    Attributes:
        labels: Its labels in class order.
        classify: From prompts to one output each, in the same order. It must take prompts lazily: what it holds at a
            time bounds the memory of a run.
        identity: The content of its checkpoint, as a hash or commit; a run is continued only with the same.
    """

    labels: tuple[str, ...]
    classify: Callable[[Iterator[Prompt]], Iterator[ClassificationRequestOutput]]
    identity: str = ""


@dataclass(frozen=True)
class Choice:
    """Which scores are written: the best `top_k`, those that reach `threshold`, and the logits as well."""

    top_k: int | None = None
    threshold: float | None = None
    logits: bool = False


@dataclass(frozen=True, slots=True)
class OutputRow:
    """One row of the output; `error` says why it has no scores."""

    row: int
    columns: Mapping[str, Any] = field(default_factory=dict)
    label: str | None = None
    score: float | None = None
    probs: Mapping[str, float | None] = field(default_factory=dict)
    logits: Mapping[str, float | None] | None = None
    error: str | None = None
    tokens: int = 0
    prompt: Prompt | None = None


def failed(row: InputRow, error: str, tokens: int = 0) -> OutputRow:
    """The output of a row that could not be classified."""
    return OutputRow(row.index, row.columns, error=" ".join(error.split()), tokens=tokens, prompt=row.prompt)


def scored(row: InputRow, output: ClassificationRequestOutput, choice: Choice) -> OutputRow:
    """The output of a row that went through the model.

    `label` is the winner of a single-label model if it reaches the threshold; `score` is the winner's, or the only
    score of a model with one label. Values that are not finite become None.
    """
    tokens = len(output.prompt_token_ids)
    scores = output.outputs
    if output.error is not None or scores is None:
        return failed(row, _message(output.error), tokens)
    chosen = {item.label: _finite(item.score) for item in scores.labels(top_k=choice.top_k, threshold=choice.threshold)}
    label = scores.label
    best = max(scores.probs) if label is not None or len(scores.probs) == 1 else None
    if best is not None and choice.threshold is not None and best < choice.threshold:
        label = None
    logits = dict(zip(scores.names, map(_finite, scores.logits), strict=True)) if choice.logits else None
    score = None if best is None else _finite(best)
    return OutputRow(row.index, row.columns, label, score, chosen, logits, None, tokens, row.prompt)


def _message(error: Exception | None) -> str:
    """What is wrong, without the prompt's position in the stream: the row has its own number."""
    if isinstance(error, PromptError):
        return error.message
    return str(error) or type(error).__name__


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


class Renamer:
    """Names for the columns passed on: one that a result also has becomes "input_<name>"."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = frozenset(taken)

    def __call__(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        """`columns` under their output names, in the same order."""
        return {self.name(name, columns): value for name, value in columns.items()}

    def name(self, name: str, columns: Iterable[str]) -> str:
        """The output name of column `name`, one of `columns`."""
        if name not in self._taken:
            return name
        new = "input_" + name
        while new in self._taken or new in columns:
            new = "input_" + new
        return new


class JsonFormat:
    """Output rows as JSON lines."""

    def __init__(self) -> None:
        self._rename = Renamer(JSON_NAMES)

    def line(self, row: OutputRow) -> bytes:
        """One line with its end; "row" comes first, "error" last and only where there is one."""
        record: dict[str, Any] = {"row": row.row, **self._rename(row.columns)}
        if row.error is not None:
            record["error"] = row.error
        else:
            record.update(label=row.label, score=row.score, probs=dict(row.probs))
            if row.logits is not None:
                record["logits"] = dict(row.logits)
        return to_json(record).encode(errors="replace") + b"\n"


class FlatFormat:
    """Output rows as a fixed list of columns: row, columns passed on, label, score, prob_*, logit_*, error."""

    def __init__(self, columns: Sequence[str], labels: Sequence[str], choice: Choice) -> None:
        self.labels = tuple(labels)
        self.logits = choice.logits
        self.kept = tuple(columns)
        self.floats = ["score", *(f"prob_{label}" for label in labels)]
        self.floats += [f"logit_{label}" for label in labels] if choice.logits else []
        taken = ("row", "label", *self.floats, "error")
        rename = Renamer(taken)
        self.names = ("row", *(rename.name(name, columns) for name in columns), *taken[1:])

    def values(self, row: OutputRow) -> list[Any]:
        """The row's values in the order of `names`, None where there is none."""
        logits = row.logits or {}
        values: list[Any] = [row.row, *map(row.columns.get, self.kept), row.label, row.score]
        values += map(row.probs.get, self.labels)
        values += map(logits.get, self.labels) if self.logits else ()
        return [*values, row.error]


def check_labels(labels: Sequence[str]) -> None:
    """Refuses labels that share a name: their scores could not be told apart.

    Raises:
        RowsError: a label occurs twice.
    """
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise RowsError(f"the model has several labels of one name ({', '.join(twice)}); rename them in its id2label")


def to_json(value: Any) -> str:
    """JSON without NaN or infinities: they become null."""
    try:
        return _ENCODER.encode(value)
    except ValueError:
        return _ENCODER.encode(_without_nan(value))


def to_cell(value: Any) -> str:
    """A value in a csv file or a column of strings: text as it is, None empty, numbers and lists as JSON."""
    if isinstance(value, str):
        return value
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return to_json(value) if isinstance(value, bool | int | float | dict | list) else _plain(value)


def _without_nan(value: Any) -> Any:
    if isinstance(value, float):
        return _finite(value)
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return value


def _plain(value: Any) -> str:
    """What JSON lacks: bytes as base64, the rest (dates, decimals) as their usual spelling."""
    return base64.b64encode(value).decode("ascii") if isinstance(value, bytes) else str(value)


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=_plain)

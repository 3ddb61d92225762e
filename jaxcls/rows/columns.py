"""What is read from a row: which columns, what they must hold, and what they make together."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from jaxcls.inputs.chat import is_conversation
from jaxcls.rows.errors import RowsError

Keep = tuple[str, ...] | Literal["all", "none"]


@dataclass(frozen=True)
class Kind:
    """What a column holds.

    Attributes:
        what: Its name in errors.
        accepts: Whether a value is one.
        nested: It is a list; where cells are text, its JSON.
        whole: It may be a whole number too.
    """

    what: str
    accepts: Callable[[Any], bool]
    nested: bool = False
    whole: bool = False

    def read(self, value: Any) -> Any:
        """The value.

        Raises:
            ValueError: it is something else; the message says what.
        """
        if value is None:
            raise ValueError("null")
        if self.nested and isinstance(value, str):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError) as problem:
                raise ValueError(f"not {self.what}: invalid JSON: {problem}") from None
        if not self.accepts(value):
            raise ValueError(f"not {self.what} but {type(value).__name__}")
        return value


def _is_list(value: Any, of: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and all(map(of, value))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


TEXT = Kind("text", lambda value: isinstance(value, str))
MESSAGES = Kind('a list of messages ({"role", "content"})', is_conversation, nested=True)
TEXTS = Kind(
    "a list of texts",
    lambda value: isinstance(value, list) and all(isinstance(x, str | dict) for x in value),
    nested=True,
)
NUMBERS = Kind("a list of numbers", lambda value: isinstance(value, list) and all(map(_is_number, value)), nested=True)
RANKING = Kind(
    'a ranking, a list of {"index", "score"}',
    lambda value: _is_list(value, lambda x: isinstance(x, dict) and type(x.get("index")) is int),
    nested=True,
)


@dataclass(frozen=True)
class Column:
    """A column that is read.

    Attributes:
        role: What it is for, as the option that names it is called.
        name: Its name in the file.
        kind: What it holds.
    """

    role: str
    name: str
    kind: Kind = TEXT


@dataclass(frozen=True, slots=True)
class InputRow:
    """One row: its number, the item for the model (None if there is an error), and the columns to pass on."""

    index: int
    item: Any
    columns: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None


def one_or_all(values: tuple[Any, ...]) -> Any:
    """The value of the only column, or those of all: a text or a pair."""
    return values[0] if len(values) == 1 else values


@dataclass(frozen=True)
class Selection:
    """Which columns make the item of a row, and which are passed on to the output.

    Attributes:
        columns: Those that are read.
        keep: Names of the columns to pass on, "all" or "none".
        item: Their values -> what the model is given.
    """

    columns: tuple[Column, ...]
    keep: Keep = "all"
    item: Callable[[tuple[Any, ...]], Any] = one_or_all

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that are read."""
        return tuple(column.name for column in self.columns)

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the output, as JSON values."""
        return {**{column.role: column.name for column in self.columns}, "keep": self.keep}

    def kept(self, available: Sequence[str], path: Path) -> tuple[str, ...]:
        """Columns to pass on, of a file whose columns are `available`.

        Raises:
            RowsError: a named column is not in the file, or two columns have one name.
        """
        named = self.names + (self.keep if isinstance(self.keep, tuple) else ())
        missing = [name for name in named if name not in available]
        if missing:
            raise RowsError(f"{path} has no column {_names(missing)}; its columns are {_names(available)}")
        if len(set(available)) < len(available):
            raise RowsError(f"{path} has two columns of one name: {_names(available)}")
        if isinstance(self.keep, tuple):
            return self.keep
        return tuple(available) if self.keep == "all" else ()

    def row(self, index: int, record: Mapping[str, Any], columns: Mapping[str, Any]) -> InputRow:
        """The row of `record` (column name -> value), or its error."""
        values: list[Any] = []
        for column in self.columns:
            if column.name not in record:
                return InputRow(index, None, columns, f"column {column.name!r} is missing")
            try:
                values.append(column.kind.read(record[column.name]))
            except ValueError as problem:
                return InputRow(index, None, columns, f"column {column.name!r} is {problem}")
        return InputRow(index, self.item(tuple(values)), columns)


def text_columns(column: str = "text", pair_column: str | None = None, keep: Keep = "all") -> Selection:
    """A text a row, or a pair."""
    pair = () if pair_column is None else (Column("pair_column", pair_column),)
    return Selection((Column("column", column), *pair), keep)


def _names(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names)

"""Output rows: what is written for each row of the input, and how it looks in JSON and in flat columns."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jaxcls.errors import PromptError
from jaxcls.outputs import RequestOutput
from jaxcls.rows.columns import InputRow
from jaxcls.rows.json_values import to_json
from jaxcls.rows.results import Field, Results


@dataclass(frozen=True, slots=True)
class OutputRow:
    """One row of the output: the record of its result, or the error that says why it has none."""

    row: int
    columns: Mapping[str, Any] = field(default_factory=dict)
    record: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None
    tokens: int = 0
    item: Any = None


def failed(row: InputRow, error: str, tokens: int = 0) -> OutputRow:
    """The output of a row that has no result."""
    return OutputRow(row.index, row.columns, error=" ".join(error.split()), tokens=tokens, item=row.item)


def scored(row: InputRow, output: RequestOutput[Any], results: Results[Any]) -> OutputRow:
    """The output of a row that went through the model."""
    tokens = len(output.prompt_token_ids)
    if output.error is not None or output.outputs is None:
        return failed(row, _message(output.error), tokens)
    record = results.record(row.item, output.outputs)
    return OutputRow(row.index, row.columns, record, tokens=tokens, item=row.item)


def _message(error: Exception | None) -> str:
    """What is wrong, without the prompt's position in the stream: the row has its own number."""
    if isinstance(error, PromptError):
        return error.message
    return str(error) or type(error).__name__


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

    def __init__(self, fields: Sequence[Field]) -> None:
        self._rename = Renamer(("row", *(field.name for field in fields), "error"))

    def line(self, row: OutputRow) -> bytes:
        """One line with its end; "row" comes first, "error" last and only where there is one."""
        result = row.record if row.error is None else {"error": row.error}
        record = {"row": row.row, **self._rename(row.columns), **result}
        return to_json(record).encode(errors="replace") + b"\n"


class FlatFormat:
    """Output rows as a fixed list of columns: row, columns passed on, those of each field, error."""

    def __init__(self, columns: Sequence[str], fields: Sequence[Field]) -> None:
        self.fields = tuple(fields)
        self.kept = tuple(columns)
        results = [name for field in fields for name in field.columns]
        rename = Renamer(("row", *results, "error"))
        self.names = ("row", *(rename.name(name, columns) for name in columns), *results, "error")

    def values(self, row: OutputRow) -> list[Any]:
        """The row's values in the order of `names`, None where there is none."""
        values: list[Any] = [row.row, *map(row.columns.get, self.kept)]
        for field_ in self.fields:
            values += field_.flat(row.record.get(field_.name))
        return [*values, row.error]

"""What is written for an output: the names that a result has, and how each looks in flat columns."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Literal

from jaxcls.outputs import OutputT, RequestOutput
from jaxcls.rows.errors import RowsError
from jaxcls.rows.json_values import to_json

FieldType = Literal["text", "probability", "number", "json"]


@dataclass(frozen=True)
class Field:
    """One name of a result.

    Attributes:
        name: As JSON lines have it.
        type: Of its value; "json" is any other, and a string where columns are flat.
        keys: It is a mapping of these to such values; flat, each has a column: "prob_<key>" of "probs".
        shown: Its value as a table shows it.
    """

    name: str
    type: FieldType
    keys: tuple[str, ...] | None = None
    shown: Callable[[Any], str] | None = None

    def __post_init__(self) -> None:
        keys = self.keys or ()
        twice = sorted({key for key in keys if keys.count(key) > 1})
        if twice:
            raise RowsError(
                f"the model has several labels of one name ({', '.join(twice)}); rename them in its id2label"
            )

    @property
    def is_number(self) -> bool:
        """Whether its columns hold numbers."""
        return self.type in ("probability", "number")

    @property
    def columns(self) -> tuple[str, ...]:
        """Its flat columns."""
        if self.keys is None:
            return (self.name,)
        return tuple(f"{self.name.removesuffix('s')}_{key}" for key in self.keys)

    def flat(self, value: Any) -> list[Any]:
        """A value in these columns, None where there is none."""
        if self.keys is not None:
            return list(map((value or {}).get, self.keys))
        return [to_json(value) if self.type == "json" and value is not None else value]


@dataclass(frozen=True)
class Results(Generic[OutputT]):
    """How the outputs of a call are written.

    Attributes:
        fields: All names that a result has, in order.
        record: The item that was given and its output -> the value of each name.
    """

    fields: tuple[Field, ...]
    record: Callable[[Any, OutputT], dict[str, Any]]


@dataclass(frozen=True)
class Scorer(Generic[OutputT]):
    """A loaded model at one task.

    Attributes:
        run: From items to one output each, in the same order. It must take items lazily: what it holds at a time bounds
            the memory of a run.
        results: How its outputs are written.
        identity: The content of its checkpoint, as a hash or commit; a run is continued only with the same.
    """

    run: Callable[[Iterator[Any]], Iterator[RequestOutput[OutputT]]]
    results: Results[OutputT]
    identity: str = ""

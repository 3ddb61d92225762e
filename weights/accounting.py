"""The books of a load: which checkpoint tensors fill which parameter, and everything that does not add up.

Works on names, shapes and dtypes only; no tensor is read here.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from typing import Literal, Protocol, runtime_checkable

import ml_dtypes
import numpy as np

from weights.errors import CheckpointError, MissingHeadError, listed
from weights.rules import LAYER, Rule, RuleTable
from weights.transforms import Shape

HeadInit = Literal["zeros", "random"]
HEAD = "head."

AMBIGUOUS = "named twice"
DTYPE = "of a dtype that the parameter cannot be filled from"
MISSHAPEN = "of the wrong shape (do config.json and the weights belong together?)"
MISSING = "missing from the checkpoint"
NON_FINITE = "holding values that are not finite (a broken file, or a dtype too narrow for them)"
UNEXPECTED = "in the checkpoint, but nothing in the model uses them"
UNRULED = "parameters of the model that no rule fills"

_FLOATS = tuple(np.dtype(t) for t in (np.float16, ml_dtypes.bfloat16, np.float32, np.float64))
_SHOWN = 4  # sources of one parameter
_SCALED = "weight"
_SCALE = "scale"
_QUANTISED = (".qweight", ".qzeros", ".scales", ".g_idx", "weight_scale", "weight_scale_inv", ".SCB", ".absmax")


@runtime_checkable
class ArraySpec(Protocol):
    """What is known of a parameter before it has a value, for instance a `jax.ShapeDtypeStruct`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape."""
        ...

    @property
    def dtype(self) -> np.dtype:
        """The dtype."""
        ...


@dataclass(frozen=True)
class Row:
    """One layer of a parameter, or all of one that has no layers.

    Attributes:
        name: its path in an unrolled model, whichever way the model at hand is laid out.
        shape: without a layer axis.
        layer: its number, None where there are no layers.
        sources: the tensors it is made of, as the checkpoint names them.
        init: how it is filled where there are none.
    """

    name: str
    shape: Shape
    layer: int | None
    sources: tuple[str, ...] = ()
    init: HeadInit | None = None

    @property
    def label(self) -> str:
        """The sources, for messages; of hundreds of experts the first."""
        shown = " + ".join(self.sources[:_SHOWN])
        return shown if len(self.sources) <= _SHOWN else f"{shown} + {len(self.sources) - _SHOWN} more"


@dataclass(frozen=True)
class Fill:
    """All that is needed to make one parameter, `target`: its rule and its rows, one per layer if it is `stacked`.

    A parameter that is quantised is made together with its scales, whose path and spec are `scale`.
    """

    target: str
    spec: ArraySpec
    rule: Rule
    stacked: bool
    rows: tuple[Row, ...]
    scale: tuple[str, ArraySpec] | None = None

    @property
    def parts(self) -> dict[str, ArraySpec]:
        """The parameters that are made: the target, then its scales if it has any."""
        return {self.target: self.spec, **dict([self.scale] if self.scale else [])}


@dataclass
class Problems:
    """Everything wrong with a load, by kind; a missing head apart."""

    found: dict[str, list[str]] = field(default_factory=dict)
    head: list[str] = field(default_factory=list)

    def add(self, kind: str, item: str) -> None:
        """Records one problem."""
        self.found.setdefault(kind, []).append(item)

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.found or self.head)

    def raise_any(self) -> None:
        """Raises one error that names every problem; MissingHeadError if a missing head is among them."""
        if not self:
            return
        parts = [f"{kind} ({len(items)}):\n  " + "\n  ".join(listed(items)) for kind, items in self.found.items()]
        if self.head:
            parts.insert(
                0,
                f"no classification head, so every score would be random ({len(self.head)}):\n  "
                + "\n  ".join(listed(self.head))
                + "\n  Load a checkpoint that was fine-tuned for classification (perhaps the hub has one by another "
                'name); make one of a language model\'s output matrix with labels={"good": " good", "bad": " bad"} or '
                'hf_overrides={"classifier_from_token": [...], "method": ...}; for embeddings, pass '
                'convert="embed"; or, to run with an untrained head on purpose, head_init="zeros" or "random".',
            )
        error = MissingHeadError if self.head else CheckpointError
        raise error("the checkpoint does not fit the model:\n" + "\n".join(parts))


def check_names(
    names_and_shapes: Mapping[str, Shape],
    table: RuleTable,
    target: Mapping[str, ArraySpec],
    *,
    head_init: HeadInit | None = None,
) -> None:
    """Raises the CheckpointError that loading tensors of these names and shapes would raise; reads nothing."""
    account(names_and_shapes, None, table, target, head_init)[1].raise_any()


def total_bytes(target: Mapping[str, ArraySpec]) -> int:
    """The size of the finished weights: what the numbers that a load reports to `progress` add up to."""
    return sum(prod(spec.shape) * spec.dtype.itemsize for spec in target.values())


def scales(target: Mapping[str, ArraySpec]) -> dict[str, str]:
    """The quantised parameters of `target`, each with its scales' path: every int8 `x.weight` beside an `x.scale`."""
    paths = (path for path in target if path.endswith("." + _SCALED) and target[path].dtype == np.int8)
    pairs = ((path, path.removesuffix(_SCALED) + _SCALE) for path in paths)
    return {path: scale for path, scale in pairs if scale in target}


def account(
    shapes: Mapping[str, Shape],
    dtypes: Mapping[str, np.dtype] | None,
    table: RuleTable,
    target: Mapping[str, ArraySpec],
    head_init: HeadInit | None = None,
) -> tuple[list[Fill], Problems]:
    """How to fill every parameter of `target`, in its order, and all problems found on the way.

    `dtypes` None leaves dtypes unchecked.
    """
    fills, problems = outline(table, target)
    books = _Books(shapes, dtypes, table, head_init, problems)
    fills = [replace(fill, rule=books.form(fill.rule)) for fill in fills]
    fills = [replace(fill, rows=tuple(books.enter(fill, row) for row in fill.rows)) for fill in fills]
    books.check_unused(target)
    return fills, problems


def outline(table: RuleTable, target: Mapping[str, ArraySpec]) -> tuple[list[Fill], Problems]:
    """Every parameter of `target`, in its order, with its rule and rows, before any source is known."""
    problems = Problems()
    fills: dict[str, Fill] = {}
    quantised = scales(target)
    for rule in table.rules:
        for fill in _expand(rule, target):
            if fill.target in fills:
                problems.add(AMBIGUOUS, f"{fill.target}, by two rules")
            scale = quantised.get(fill.target)
            fills[fill.target] = replace(fill, scale=(scale, target[scale])) if scale else fill
    filled = {path for fill in fills.values() for path in fill.parts}
    for path in target:
        if path not in filled:
            problems.add(UNRULED, path)
    return [fills[path] for path in target if path in fills], problems


def _expand(rule: Rule, target: Mapping[str, ArraySpec]) -> Iterator[Fill]:
    if not rule.layered:
        if (path := rule.target) in target:
            spec = target[path]
            yield Fill(path, spec, rule, False, (Row(path, tuple(spec.shape), None),))
        return
    if (path := rule.stacked_target) in target:
        count, *shape = target[path].shape
        rows = tuple(Row(rule.target_at(layer), tuple(shape), layer) for layer in range(count))
        yield Fill(path, target[path], rule, True, rows)
    before, after = map(re.escape, rule.target.split(LAYER))
    pattern = re.compile(before + r"(0|[1-9]\d*)" + after)
    for path, spec in target.items():
        if match := pattern.fullmatch(path):
            yield Fill(path, spec, rule, False, (Row(path, tuple(spec.shape), int(match[1])),))


class _Books:
    """One accounting: what the checkpoint has, what of it is used, what is wrong."""

    def __init__(
        self,
        shapes: Mapping[str, Shape],
        dtypes: Mapping[str, np.dtype] | None,
        table: RuleTable,
        head_init: HeadInit | None,
        problems: Problems,
    ) -> None:
        self._shapes = shapes
        self._dtypes = dtypes
        self._table = table
        self._head_init: HeadInit | None = head_init
        self._problems = problems
        self._used: set[str] = set()
        self._by_name: dict[str, list[str]] = {}  # as renamed: as the checkpoint has it
        for name in shapes:
            self._by_name.setdefault(table.rename(name), []).append(name)

    def form(self, rule: Rule) -> Rule:
        """The form of a rule that the checkpoint's names are in; the first where they are in none."""
        if rule.other is None:
            return rule
        return next((form for form in rule.forms if form in self._present), rule)

    def enter(self, fill: Fill, row: Row) -> Row:
        """The row with its sources or the way it is filled without; whatever is wrong with it is recorded."""
        rule = fill.rule
        if row.layer in rule.absent:
            return replace(row, init="zeros")
        wanted = rule.sources_at(row.layer)
        missing = [source for source in wanted if source not in self._by_name]
        if len(missing) == len(wanted):
            if rule.default is not None and rule not in self._present:
                return replace(row, init=rule.default)
            if row.name.startswith(HEAD) and self._head_init is not None:
                return replace(row, init=self._head_init)
        if missing:
            self._record_missing(missing, row.name)
            return row
        self._used.update(wanted)
        row = replace(row, sources=tuple(self._by_name[source][0] for source in wanted))
        self._check_shape(rule, row)
        self._check_dtype(row, np.dtype(np.float32 if fill.scale else fill.spec.dtype))
        return row

    @cached_property
    def _present(self) -> set[Rule]:
        # A default stands for a tensor that the checkpoint lacks as a whole; one layer without it is a broken file.
        return {rule for name in self._by_name for rule, _ in self._table.rules_naming(name)}

    def _record_missing(self, sources: list[str], name: str) -> None:
        for source in sources:
            line = source if source == name else f"{source} (for {name})"
            if name.startswith(HEAD) and self._head_init is None:
                self._problems.head.append(line)
            else:
                self._problems.add(MISSING, line)

    def _check_shape(self, rule: Rule, row: Row) -> None:
        given = [tuple(self._shapes[source]) for source in row.sources]
        label = f"{row.label} has shape {' + '.join(map(str, given[:_SHOWN]))}"
        try:
            made = rule.made_by.shape(given)
        except ValueError as error:
            self._problems.add(MISSHAPEN, f"{label} (for {row.name} {row.shape}): {error}")
            return
        if made != row.shape:
            through = "" if [made] == given else f", {made} after {rule.transform!r}"
            self._problems.add(MISSHAPEN, f"{label}{through}; {row.name} has {row.shape}")

    def _check_dtype(self, row: Row, dtype: np.dtype) -> None:
        if self._dtypes is None:
            return
        for source in row.sources:
            given = self._dtypes[source]
            if given != dtype and not (given in _FLOATS and dtype in _FLOATS):
                quantised = "; quantised weights are not dequantised, use the checkpoint they were made from"
                why = quantised if dtype in _FLOATS else ""
                self._problems.add(DTYPE, f"{source} is {given}, {row.name} is {dtype}{why}")

    def check_unused(self, target: Mapping[str, ArraySpec]) -> None:
        """Records every tensor that nothing reads and no pattern ignores, and names that collide."""
        for renamed, names in self._by_name.items():
            if renamed in self._used:
                if len(names) > 1:
                    self._problems.add(AMBIGUOUS, f"{' and '.join(names)}, both read as {renamed}")
                continue
            for name in names:
                if not self._table.ignores(name):
                    self._problems.add(UNEXPECTED, name + self._hint(renamed, target))

    def _hint(self, renamed: str, target: Mapping[str, ArraySpec]) -> str:
        if renamed.endswith(_QUANTISED):
            return " (part of a quantised checkpoint; use the one it was made from)"
        paths = [rule.target_at(layer) for rule, layer in self._table.rules_naming(renamed)]
        absent = [path for path in paths if path not in target]
        return f" (the model has no {absent[0]})" if absent else ""

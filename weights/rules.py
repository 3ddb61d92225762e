"""How the tensors of a checkpoint map onto the parameters of a model: one row per parameter, as data."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Literal

from weights import transforms

LAYER = "{layer}"


@dataclass(frozen=True)
class Rule:
    """One parameter and the checkpoint tensor(s) it is made of.

    Attributes:
        target: dotted path in the model. `{layer}`, as a whole path component, stands for every layer number:
            `"layers.{layer}.attn.q.weight"`. A model that stacks its layers has the path without that component,
            `"layers.attn.q.weight"`, and a leading axis.
        source: the checkpoint's name for it, with `{layer}` where the name carries the layer's number. Several names
            are fused by `transform`.
        transform: how the tensor(s) become the parameter, see `weights.transforms`.
        default: what the parameter holds where the checkpoint lacks it altogether; None makes that an error.
        absent: layers that no checkpoint has it in: the model does not use it there, and it holds zeros.
        other: the same parameter as other files have it; followed where the checkpoint has none of these sources, in
            any layer, and any of the other's.

    Raises ValueError where the row makes no sense.
    """

    target: str
    source: str | tuple[str, ...]
    transform: str = "identity"
    default: Literal["zeros"] | None = None
    absent: tuple[int, ...] = ()
    other: "Rule | None" = None

    def __post_init__(self) -> None:
        placeholders = {m for name in (self.target, *self.sources) for m in re.findall(r"\{.*?\}", name)}
        if placeholders - {LAYER}:
            raise ValueError(f"rule for {self.target}: {LAYER} is the only placeholder, not {sorted(placeholders)}")
        components = self.target.split(".")
        if self.target.count(LAYER) != components[1:].count(LAYER) or components.count(LAYER) > 1:
            raise ValueError(f"rule for {self.target}: {LAYER} must be one whole component, after the first")
        if not self.layered and any(LAYER in name for name in self.sources):
            raise ValueError(f"rule for {self.target}: its source has {LAYER}, its target has not")
        if not self.sources:
            raise ValueError(f"rule for {self.target} names no source")
        fuses = self.made_by.fuses
        if fuses != isinstance(self.source, tuple):
            needs = "a tuple of sources" if fuses else "one source"
            raise ValueError(f"rule for {self.target}: transform {self.transform!r} takes {needs}")
        if self.other is not None and self.other.target != self.target:
            raise ValueError(f"rule for {self.target}: its other form is for {self.other.target}")

    @property
    def sources(self) -> tuple[str, ...]:
        """The source names, always as a tuple."""
        return (self.source,) if isinstance(self.source, str) else self.source

    @property
    def forms(self) -> "tuple[Rule, ...]":
        """This rule and its other forms, in the order in which they are tried."""
        return (self, *(self.other.forms if self.other else ()))

    @cached_property
    def made_by(self) -> transforms.Transform:
        """The transform that its name stands for."""
        return transforms.parse(self.transform)

    @property
    def layered(self) -> bool:
        """Whether there is one such parameter per layer."""
        return LAYER in self.target

    @property
    def stacked_target(self) -> str:
        """The parameter's path in a model whose layers are stacked."""
        return self.target.replace("." + LAYER, "")

    def target_at(self, layer: int | None) -> str:
        """The parameter's path in one layer (None: not layered) of an unrolled model."""
        return self.target.replace(LAYER, str(layer))

    def sources_at(self, layer: int | None) -> tuple[str, ...]:
        """The checkpoint names for one layer (None: not layered)."""
        return tuple(name.replace(LAYER, str(layer)) for name in self.sources)


@dataclass(frozen=True)
class RuleTable:
    """All rules of an architecture.

    Attributes:
        rules: one per parameter. A rule whose parameter the model does not have is not used, so that one table may
            serve a family; a checkpoint tensor that only such a rule names is then unexpected.
        ignore: shell-style patterns of checkpoint tensors that carry nothing the model needs, as the checkpoint names
            them or as `renames` does. A tensor that a rule names is read all the same.
        renames: (regular expression, replacement) pairs, applied in this order to every checkpoint name.
    """

    rules: tuple[Rule, ...]
    ignore: tuple[str, ...] = ()
    renames: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        for pattern, replacement in self.renames:
            try:
                re.sub(pattern, replacement, "")
            except (re.error, IndexError) as error:
                raise ValueError(
                    f"rename ({pattern!r}, {replacement!r}) is not a regular expression: {error}"
                ) from None

    def rename(self, name: str) -> str:
        """The name that the rules know a checkpoint tensor by."""
        for pattern, replacement in self.renames:
            name = re.sub(pattern, replacement, name)
        return name

    def ignores(self, name: str) -> bool:
        """Whether a checkpoint tensor may be left unread."""
        return any(fnmatchcase(n, pattern) for n in (name, self.rename(name)) for pattern in self.ignore)

    def rules_naming(self, name: str) -> Iterator[tuple[Rule, int | None]]:
        """The rules, used or not, among whose sources `name` (as renamed) is, with the layer it belongs to."""
        # A checkpoint with experts has tens of thousands of tensors and its table hundreds of sources.
        endings = (name, *(name[i + 1 :] for i, character in enumerate(name) if character.isdigit()))
        for rule, pattern in (pair for ending in endings for pair in self._source_patterns.get(ending, ())):
            if match := pattern.fullmatch(name):
                yield rule, int(match["layer"]) if "layer" in pattern.groupindex else None

    @cached_property
    def _source_patterns(self) -> dict[str, list[tuple[Rule, re.Pattern[str]]]]:
        # By what follows the last {layer}; the whole source where it has none.
        def pattern(source: str) -> re.Pattern[str]:
            first, *rest = map(re.escape, source.split(LAYER))
            return re.compile(
                first + "".join((r"(?P<layer>\d+)" if i == 0 else r"(?P=layer)") + r for i, r in enumerate(rest))
            )

        patterns: dict[str, list[tuple[Rule, re.Pattern[str]]]] = {}
        for form in (form for rule in self.rules for form in rule.forms):
            for source in form.sources:
                patterns.setdefault(source.rsplit(LAYER, maxsplit=1)[-1], []).append((form, pattern(source)))
        return patterns

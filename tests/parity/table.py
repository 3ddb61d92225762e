"""docs/parity.md: what was compared with transformers, and how far apart the logits are."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.parity.ours import INVARIANCE, PARITY
from tests.parity.store import Golden

TABLE = Path(__file__).parents[2] / "docs" / "parity.md"

# (case, layout) -> max |delta logit|
Deltas = Mapping[tuple[str, str], float]

_TEXT = """# Parity with transformers

Written by `pytest tests/parity --write-parity-table`; do not edit.

Tiny random models, every flag that changes a result toggled, their logits compared with transformers' float32 logits
({made_with}; one sequence at a time, eager attention except where only the
default one honours a flag: Gemma's `use_bidirectional_attention`).
Bound: |delta logit| <= {parity:.0e}, logits of order 1.
The models and the logits are committed (`tests/parity/goldens`); weights are a function of a seed and of each tensor's
name and shape. `make parity` recomputes them with live transformers. Any permutation, packing or bucket of the same
prompts gives the same rows within {invariance:.0e}.

| architecture | cases | max \\|delta logit\\| | of these with stacked layers | max \\|delta logit\\| |
| --- | ---: | ---: | ---: | ---: |
{rows}

## Cases

{cases}
"""


def render(goldens: Iterable[Golden], deltas: Deltas) -> str:
    """The page, for the deltas of what was run."""
    goldens = list(goldens)
    by_architecture: dict[str, list[str]] = defaultdict(list)
    for golden in goldens:
        by_architecture[golden.case.architecture].append(golden.case.name)
    rows, cases = [], []
    for architecture, names in sorted(by_architecture.items()):
        cells = []
        for layout in ("unrolled", "stacked"):
            measured = [deltas[name, layout] for name in names if (name, layout) in deltas]
            cells += [str(len(measured)), f"{max(measured):.1e}" if measured else "-"]
        rows.append(f"| {architecture} | {' | '.join(cells)} |")
        cases.append(f"{architecture}: {', '.join(f'`{name}`' for name in sorted(names))}.")
    return _TEXT.format(
        made_with="; ".join(sorted({golden.made_with for golden in goldens})),
        parity=PARITY,
        invariance=INVARIANCE,
        rows="\n".join(rows),
        cases="\n\n".join(cases),
    )


def without_deltas(page: str) -> str:
    """The page with every measured number, which differs a little between machines, left out."""
    return re.sub(r"\| \d\.\de[-+]\d\d (?=\|)", "| - ", page)

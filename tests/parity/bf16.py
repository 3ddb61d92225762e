"""What bfloat16 changes: `python -m tests.parity.bf16` writes docs/parity_bf16.md from the committed goldens.

One model of each network (the cases called "-base"), weights rounded to bfloat16, products in bfloat16, everything else
float32; logits compared with transformers' in float32. `--check` writes nothing: it does the same on this machine's
device, in both layouts, and fails where a model is further off than rounding explains.
"""

import argparse
import multiprocessing
import os
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from tests.parity.ours import Layout, layouts, load_ours, run_ours
from tests.parity.store import Golden, all_goldens, write_checkpoint

PAGE = Path(__file__).parents[2] / "docs" / "parity_bf16.md"
# Two classes that are nearer to each other than this may change places.
MARGIN = 0.05
# Of 95% of a model's logits, which are of order 1: rounding moves them by 0.13 at most where it changes an expert.
BOUND = 0.2

_TEXT = """# bfloat16 against float32

Written by `python -m tests.parity.bf16`; do not edit.

The distance of `dtype="bfloat16"` from transformers' float32 logits, for one tiny random model of each network
([parity.md](parity.md) has all cases in float32). Logits are of order 1. Decisions: of rows whose two largest logits
are {margin} apart or more, those where the same class is the largest.
A mixture of experts chooses; where rounding changes a choice (Qwen3Moe), a row moves further.

| architecture | logits | median \\|delta\\| | 95% | largest | same decisions |
| --- | ---: | ---: | ---: | ---: | ---: |
{rows}
"""


def measure(golden: Golden, layout: Layout = "unrolled") -> tuple[np.ndarray, int, int]:
    """Distances of all logits; rows that are decided the same way, and rows that are decided at all."""
    with TemporaryDirectory() as folder:
        write_checkpoint(golden.case.config, golden.shapes, golden.case.seed, Path(folder))
        llm = load_ours(golden.case, Path(folder), layout, dtype="bfloat16")
        ours = run_ours(llm, golden.case.prompts)
    theirs = golden.logits
    if theirs.shape[1] < 2:
        return np.abs(ours - theirs).ravel(), 0, 0
    two = np.sort(theirs, axis=1)[:, -2:]
    clear = two[:, 1] - two[:, 0] >= MARGIN
    same = ours.argmax(axis=1) == theirs.argmax(axis=1)
    return np.abs(ours - theirs).ravel(), int(same[clear].sum()), int(clear.sum())


def check(goldens: list[Golden]) -> None:
    """Measures in this process, which may hold the only device.

    Raises:
        SystemExit: a model is off; names all.
    """
    off = []
    for golden in goldens:
        for layout in layouts(golden.case.config):
            deltas, same, clear = measure(golden, layout)
            high = float(np.quantile(deltas, 0.95))
            print(f"{golden.case.name}, {layout}: 95% within {high:.1e}, {same} of {clear} decisions", flush=True)
            if not high <= BOUND:
                off.append(f"{golden.case.name} ({layout})")
    if off:
        raise SystemExit(f"further from float32 than {BOUND}: {', '.join(off)}")


def main() -> None:
    """Measures, a process a core, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a model is off")
    goldens = [golden for golden in all_goldens() if golden.case.name.endswith("-base")]
    if parser.parse_args().check:
        check(goldens)
        return
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), multiprocessing.get_context("spawn")) as pool:
        measured = list(pool.map(measure, goldens))
    found: dict[str, list[tuple[np.ndarray, int, int]]] = defaultdict(list)
    for golden, result in zip(goldens, measured, strict=True):
        found[golden.case.architecture].append(result)
    rows = []
    for architecture, results in sorted(found.items()):
        deltas = np.concatenate([result[0] for result in results])
        same, clear = (sum(result[i] for result in results) for i in (1, 2))
        median, high = np.quantile(deltas, [0.5, 0.95])
        decisions = f"{same} of {clear}" if clear else "-"
        rows.append(
            f"| {architecture} | {len(deltas)} | {median:.1e} | {high:.1e} | {deltas.max():.1e} | {decisions} |"
        )
    PAGE.write_text(_TEXT.format(margin=MARGIN, rows="\n".join(rows)))
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()

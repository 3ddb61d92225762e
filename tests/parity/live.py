"""Goldens against live transformers: `python -m tests.parity.live --check` or `--write`.

--check recomputes every golden and fails if a committed one is missing, stale or different; it also runs jaxcls against
the same live logits, with stacked layers where these matter (the test suite runs all goldens unrolled), and in both
layouts against those of random configurations that are not committed. --write replaces the goldens.
"""

import argparse
import multiprocessing
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from tests.parity.cases import Case, all_cases, all_spaces
from tests.parity.draws import random_cases
from tests.parity.oracle import MADE_WITH, compute
from tests.parity.ours import PARITY, Layout, layouts, load_ours, run_ours
from tests.parity.store import GOLDENS, Golden, read_golden

# CPUs without vector units, or with others, add in another order: measured 1.1e-6 for the same code.
SAME = 4e-6


def write() -> int:
    """Computes and writes all goldens, and removes those without a case."""
    GOLDENS.mkdir(exist_ok=True)
    written = set()
    for case in all_cases():
        with TemporaryDirectory() as folder:
            golden = compute(case, Path(folder))
        golden.write()
        written.add(golden.path)
    for path in set(GOLDENS.glob("*.json")) - written:
        path.unlink()
    size = sum(path.stat().st_size for path in written)
    print(f"wrote {len(written)} goldens, {size / 1000:.0f} kB")
    return 0


def check(extra: int) -> int:
    """Compares committed goldens and jaxcls with live transformers, a process a core; the number of failures."""
    cases = all_cases()
    failures = [f"{path.name}: no such case" for path in stale(cases)]
    worst = 0.0
    jobs = [*((case, True) for case in cases), *((case, False) for case in random_cases(extra))]
    # Spawned: a fork would share the threads of jax and torch.
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), multiprocessing.get_context("spawn")) as pool:
        for problems, delta in pool.map(check_one, *zip(*jobs, strict=True), chunksize=4):
            failures += problems
            worst = max(worst, delta)
    print(f"{len(cases)} goldens and {extra} random configurations with {MADE_WITH}; max |delta logit| {worst:.1e}")
    for failure in failures:
        print(f"FAILED {failure}")
    return len(failures)


def check_one(case: Case, committed: bool) -> tuple[list[str], float]:
    """What is wrong with one case, and the largest difference of our logits.

    Args:
        case: which.
        committed: whether it has a golden, which the test suite compares with unrolled layers.
    """
    failures, worst = [], 0.0
    with TemporaryDirectory() as name:
        live = compute(case, Path(name))
        if committed:
            failures += [f"{case.name}: {problem}" for problem in differences(live)]
        for layout in _layouts(case) if committed else layouts(case.config):
            delta = float(np.abs(run_ours(load_ours(case, Path(name), layout), case.prompts) - live.logits).max())
            worst = max(worst, delta)
            if not delta <= PARITY:
                failures.append(f"{case.name}, {layout}: {delta:.1e} from transformers; config {case.config}")
    return failures, worst


def _layouts(case: Case) -> Sequence[Layout]:
    """The stacked layout of a case that differs in what a layer holds or is given; in others it cannot matter."""
    differs = re.search(r"-base$|layers|window|bias|mha|gqa|mqa|head-|dynamic|types-3|kv-", case.name)
    return [layout for layout in layouts(case.config) if differs and layout == "stacked"]


def stale(cases: Iterable[Case]) -> Iterator[Path]:
    """Golden files without a case."""
    names = {case.name for case in cases}
    yield from sorted(path for path in GOLDENS.glob("*.json") if path.stem not in names)


def differences(live: Golden) -> Iterator[str]:
    """How the committed golden differs from the live one."""
    if not live.path.exists():
        yield "there is no golden; run --write"
        return
    committed = read_golden(live.path)
    if committed.case != live.case:
        yield "configuration or prompts changed since the golden was written; run --write"
    elif committed.shapes != live.shapes:
        yield f"transformers saves other tensors: {sorted(committed.shapes.items() ^ live.shapes.items())}"
    elif not (delta := float(np.abs(committed.logits - live.logits).max())) <= SAME:
        yield f"logits differ by {delta:.1e} from live transformers"


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.parity.live", description=__doc__)
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--check", action="store_true", help="compare with live transformers")
    mode.add_argument("--write", action="store_true", help="replace the goldens")
    networks = len(all_spaces())
    parser.add_argument("--extra", type=int, default=networks, help="random configurations to check as well")
    options = parser.parse_args()
    return write() if options.write else min(check(options.extra), 1)


if __name__ == "__main__":
    sys.exit(main())

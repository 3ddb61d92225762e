"""jaxcls alone: does the cost of a text depend on how many there are?

    python -m benchmarks.scaling MODEL [--sizes 1000,10000,100000] [--dtype float32] [--rounds 1]

Different texts with the lengths of W1 go through `LLM.classify_stream`, each size in a process of its own, so that its
peak of memory is its own. Prints a JSON line a process, then by how much a token's time differs between the sizes, by
the clock and by the CPU: the clock means something only on a machine that does nothing else.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import ROOT
from benchmarks.workloads import distinct

MARGIN = 0.05


def measure(model: Path, size: int, dtype: Any) -> dict[str, Any]:
    """One stream of so many texts, compilation left out."""
    from jaxcls import LLM

    llm = LLM(model, dtype=dtype, max_model_len=512)
    llm.warmup(use_tqdm=False)
    before = peak_mb()
    cpu, start = time.process_time(), time.perf_counter()
    answers = sum(1 for output in llm.classify_stream(distinct(size)) if output.outputs is not None)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    if answers != size:
        raise SystemExit(f"{size} texts, {answers} answers")
    stats = llm.stats
    return {
        "texts": size,
        "seconds": round(seconds, 3),
        "cpu_seconds": round(cpu, 3),
        "us_a_text": round(seconds / size * 1e6, 1),
        "us_a_token": round(seconds / stats.tokens_given * 1e6, 3),
        "cpu_us_a_token": round(cpu / stats.tokens_given * 1e6, 3),
        "tokens": stats.tokens_given,
        "tokens_computed": stats.tokens_computed,
        "fill": round(stats.fill, 4),
        "steps": stats.steps,
        "compiles": stats.compiles,
        "rss_before_mb": before,
        "rss_peak_mb": peak_mb(),
    }


def peak_mb() -> float:
    """The most memory that this process has held."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000, 1)


def main() -> None:
    """Measures every size, or, as a child, one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--sizes", default="1000,10000,100000", help="numbers of texts, with commas")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--rounds", type=int, default=1, help="all sizes once, then all again")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.model, args.one, args.dtype)))
        return
    sizes = [int(size) for size in args.sizes.split(",")]
    rows: dict[int, list[dict[str, Any]]] = {size: [] for size in sizes}
    for _ in range(args.rounds):
        for size in sizes:
            command = [sys.executable, "-m", "benchmarks.scaling", str(args.model.absolute()), "--one", str(size)]
            command += ["--dtype", args.dtype]
            line = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
            print(line, end="", flush=True)
            rows[size].append(json.loads(line))
    spread = {"spread": spread_of(rows, "us_a_token"), "cpu_spread": spread_of(rows, "cpu_us_a_token")}
    print(json.dumps({**spread, "linear": spread["cpu_spread"] <= MARGIN}))


def spread_of(rows: dict[int, list[dict[str, Any]]], cost: str) -> float:
    """By how much the dearest size's median cost exceeds the cheapest's."""
    medians = [statistics.median(row[cost] for row in found) for found in rows.values()]
    return round(max(medians) / min(medians) - 1, 4)


if __name__ == "__main__":
    main()

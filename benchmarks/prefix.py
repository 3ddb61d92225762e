"""One query beside many documents, its prefix computed once against computed for each: tokens and time, interleaved.

    python -m benchmarks.prefix .bench/models/qwen3-0.6b

Prompts have the lengths of Qwen3-Reranker's: 160 tokens of instructions and query, 96 of a document.
"""

import argparse
import json
import os
import statistics
import time

import numpy as np

from benchmarks.machine import commit, machine
from jaxcls import LLM


def main() -> None:
    """Prints a table and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="directory of a causal model with a head for classes")
    parser.add_argument("--documents", type=int, default=50)
    parser.add_argument("--prefix", type=int, default=160)
    parser.add_argument("--own", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtype", default="bfloat16")
    options = parser.parse_args()
    loaded = {
        name: LLM(options.model, dtype=options.dtype, enable_prefix_caching=reuse)
        for name, reuse in (("shared", None), ("each", False))
    }
    rng = np.random.default_rng(0)
    tokens: dict[str, list[int]] = {name: [] for name in loaded}
    seconds: dict[str, list[float]] = {name: [] for name in loaded}
    for number in range(options.rounds + 1):
        # A query of its own each round: nothing is there from the one before.
        shared = rng.integers(100, 10_000, options.prefix).tolist()
        prompts = [shared + rng.integers(100, 10_000, options.own).tolist() for _ in range(options.documents)]
        for name, llm in loaded.items():
            before, start = llm.stats.tokens_computed, time.perf_counter()
            llm.classify(prompts, use_tqdm=False)
            if number:
                seconds[name].append(time.perf_counter() - start)
                tokens[name].append(llm.stats.tokens_computed - before)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    row = {
        "model": options.model.rstrip("/").rsplit("/", 1)[-1],
        "dtype": options.dtype,
        "documents": options.documents,
        "prefix": options.prefix,
        "own": options.own,
        "tokens_computed": {name: values[0] for name, values in tokens.items()},
        "seconds": {name: [round(value, 3) for value in values] for name, values in seconds.items()},
        "tokens_ratio": round(tokens["shared"][0] / tokens["each"][0], 3),
        "time_ratio": round(medians["shared"] / medians["each"], 3),
        "machine": machine(len(os.sched_getaffinity(0))),
        "commit": commit(),
    }
    print(json.dumps(row))


if __name__ == "__main__":
    main()

"""jaxcls alone: for which share of the time does the device wait for the host?

    python -m benchmarks.host_share MODEL [--workload W1] [--limit N] [--dtype float32] [--rounds 5]

The wall time of `classify` is compared with that of the same packed steps run back to back, their batches on the device
already: what `classify` takes longer is the host's (tokenising, planning, building batches, dispatching, results), as
far as it is not hidden behind the device. What each part takes on its own is printed beside it, and where the calling
thread spends its time.
"""

import argparse
import cProfile
import json
import pstats
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.workloads import WORKLOADS, Item, make
from jaxcls import LLM
from jaxcls.engine.batch import build_batch
from jaxcls.engine.call import PromptParams
from jaxcls.engine.pipeline import RequestBuilder
from jaxcls.engine.request import Request
from jaxcls.engine.scheduler import Scheduler, StepPlan

TOKENIZATION = {"truncation": True, "max_length": 512}
TASK = "classify"


class Steps:
    """The work of one call of `classify`, taken apart."""

    def __init__(self, llm: LLM, items: Sequence[Item]):
        self.llm, self.items = llm, list(items)
        self.requests = self.tokenise()
        self.plans = self.plan()
        self.batches = self.build()

    def tokenise(self) -> list[Request]:
        """Texts -> requests."""
        builder = RequestBuilder(self.llm.model, TASK, PromptParams(None, TOKENIZATION))
        built = builder.build(0, self.items)
        return [request for request in built if isinstance(request, Request)]

    def plan(self) -> list[StepPlan]:
        """Requests -> steps."""
        scheduler = Scheduler(self.llm.model.ladder)
        for request in self.requests:
            scheduler.add(request)
        return list(iter(scheduler.next_step, None))

    def build(self) -> list[Any]:
        """Steps -> batches on the device."""
        import jax

        return jax.block_until_ready([build_batch(plan) for plan in self.plans])

    def run(self) -> None:
        """All steps, back to back."""
        import jax

        running = [self.llm.model.runner.run(batch, TASK) for batch in self.batches]
        jax.block_until_ready([step.result() for step in running])

    def classify(self) -> None:
        """Everything, as users have it."""
        self.llm.classify(self.items, use_tqdm=False, tokenization_kwargs=TOKENIZATION)


def seconds(call: Callable[[], Any]) -> float:
    """Wall time of a call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def measure(steps: Steps, rounds: int) -> dict[str, Any]:
    """Medians of interleaved rounds, in seconds, and the host's share of each round."""
    parts = {"classify": steps.classify, "device": steps.run}
    parts |= {"tokenise": steps.tokenise, "plan": steps.plan, "build": steps.build}
    times: dict[str, list[float]] = {name: [] for name in parts}
    for call in parts.values():
        call()
    for _ in range(rounds):
        for name, call in parts.items():
            times[name].append(seconds(call))
    shares = [1 - device / whole for device, whole in zip(times["device"], times["classify"], strict=True)]
    medians = {f"{name}_s": round(statistics.median(found), 4) for name, found in times.items()}
    return {
        **medians,
        "host_share": round(statistics.median(shares), 4),
        "host_shares": [round(share, 4) for share in shares],
        "items": len(steps.items),
        "steps": len(steps.plans),
    }


def main() -> None:
    """Measures, then profiles one call."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--workload", choices=WORKLOADS, default="W1")
    parser.add_argument("--limit", type=int, help="items; default: all")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--lines", type=int, default=15, help="of the profile")
    args = parser.parse_args()
    llm = LLM(args.model, dtype=args.dtype, max_model_len=512)
    llm.warmup(use_tqdm=False)
    steps = Steps(llm, make(args.workload, args.limit))
    about = {"model": args.model.name, "workload": args.workload, "dtype": args.dtype}
    print(json.dumps(about | measure(steps, args.rounds)), flush=True)
    profile = cProfile.Profile()
    profile.runcall(steps.classify)
    pstats.Stats(profile, stream=sys.stdout).sort_stats("tottime").print_stats(args.lines)


if __name__ == "__main__":
    main()

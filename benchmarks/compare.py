"""Every peer at its best settings, interleaved: all once, then all again.

    python -m benchmarks.compare --models-folder DIR --environments DIR --cache DIR [--output results.jsonl]

Rows are appended as they are measured; a run that was stopped goes on where it was. What a peer cannot do is recorded
with the reason, and so is what failed. benchmarks/report.py makes tables and plots of the rows.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import child, results
from benchmarks.accuracy import accuracy
from benchmarks.flops import model_flops
from benchmarks.machine import commit, machine
from benchmarks.peers.table import DTYPES, MODES, PEERS
from benchmarks.plan import LATENCY_TEXTS, LIMITS, Job, Plan, check, default_peers, first_item, limits
from benchmarks.results import Row
from benchmarks.workloads import WORKLOADS

REFERENCE = "transformers-sdpa"


class Comparison:
    """A run: what is planned, what is done, and how the rest is measured."""

    def __init__(self, args: argparse.Namespace, plan: Plan):
        self.args, self.plan = args, plan
        self.environments = child.Environments(args.environments, sys.executable)
        self.rows = results.read(args.output)
        self.done = results.done(self.rows, retry_failed=args.retry_failed)
        self.prepared: dict[tuple[str, str, str], str | None] = {}

    def run(self) -> None:
        """Measures whatever is not there yet."""
        self.write({"kind": "machine", **machine(self.args.threads)})
        for model in self.plan.models:
            config = json.loads((self.args.models_folder / model / "config.json").read_text())
            for number in range(self.plan.rounds):
                jobs = [job.without(self.done) for job in self.plan.jobs(model, config, number)]
                if any(job.workloads for job in jobs):
                    self.ceilings(model, number)
                for job in jobs:
                    self.measure(job, config)

    def measure(self, job: Job, config: dict[str, Any]) -> None:
        """One process, or none if nothing of the job is left."""
        for workload, reason in job.refused.items():
            self.record(job, workload, {"status": "unsupported", "reason": reason})
        if not job.workloads:
            return
        error = self.prepare(job)
        outcome = child.Outcome([], 0.0, error) if error else self.spawn(job, config)
        answered = set()
        for row in outcome.rows:
            answered.add(row["workload"])
            try:
                self.record(job, row["workload"], self.finished(row, job, config, outcome.spawned))
            except ValueError as error:  # scores that are no scores
                self.record(job, row["workload"], {"status": "failed", "reason": str(error)})
        for workload in job.workloads:
            if workload not in answered:
                reason = outcome.error or "ended without a word"
                self.record(job, workload, {"status": "failed", "reason": reason})

    def spawn(self, job: Job, config: dict[str, Any]) -> child.Outcome:
        """Measures a job in a process of its own."""
        if job.mode == "throughput":
            return self.child(job, "throughput", self.selection(job.model, job.workloads))
        if job.mode == "latency":
            texts = self.args.latency_texts or LATENCY_TEXTS[job.model]
            return self.child(job, "latency", ["--workloads", "W1", "--limits", str(texts)])
        item, _ = first_item(job.peer, config, job.dtype)
        if job.mode == "cold":
            return self.child(job, "cold", ["--workloads", item])
        with tempfile.TemporaryDirectory() as empty:
            return self.child(job, "cold", ["--workloads", item, "--programs", empty])

    def prepare(self, job: Job) -> str | None:
        """Makes exports and compiled programs, once a run; why it failed, if it did."""
        name = (job.peer, job.model, job.dtype)
        if name not in self.prepared:
            self.say(f"prepare {job.model} {job.dtype} {job.peer}")
            self.prepared[name] = self.child(job, "prepare", self.selection(job.model, job.workloads)).error
        return self.prepared[name]

    def selection(self, model: str, workloads: Sequence[str]) -> list[str]:
        """Arguments that choose items; a cold start is prepared with short texts."""
        names = [name for name in workloads if name in WORKLOADS] or ["W1"]
        chosen = limits(model, WORKLOADS, self.args.limit)
        return ["--workloads", ",".join(names), "--limits", ",".join(str(chosen[name]) for name in names)]

    def child(self, job: Job, mode: str, more: Sequence[str]) -> child.Outcome:
        """benchmarks.measure in the peer's environment."""
        interpreter = self.environments.interpreter(PEERS[job.peer].environment)
        model = str(self.args.models_folder / job.model)
        arguments = [job.peer, model, "--mode", mode, "--dtype", job.dtype, *more]
        arguments += ["--cache", str(self.args.cache), "--threads", str(self.args.threads)]
        arguments += ["--passes", str(self.args.passes), "--seconds", str(self.args.seconds)]
        return child.run(interpreter, "measure", arguments, self.args.timeout)

    def ceilings(self, model: str, number: int) -> None:
        """Rates of matrix multiplication and of multiply-adds on registers, once a model and round."""
        for kind, module in (("ceiling", "ceiling"), ("peak", "fma_peak")):
            if any((row["model"], row["round"]) == (model, number) for row in self.rows if row["kind"] == kind):
                continue
            interpreter = self.environments.interpreter(PEERS["jaxcls"].environment)
            outcome = child.run(interpreter, module, ["--threads", str(self.args.threads)], self.args.timeout)
            if outcome.error and kind == "ceiling":
                raise SystemExit(f"the ceiling could not be measured: {outcome.error}")
            if outcome.error:  # another kind of CPU, or no compiler
                print(f"no peak: {outcome.error}", file=sys.stderr)
            for row in outcome.rows:
                self.write({"kind": kind, "model": model, "round": number, **row})

    def finished(self, row: Row, job: Job, config: dict[str, Any], spawned: float) -> Row:
        """A measured row with what only the parent knows: accuracy, operations, and when the process was started."""
        row["status"] = "ok"
        if PEERS[job.peer].environment == "jaxcls":
            row["commit"] = commit()
        if job.mode == "throughput":
            reference = self.reference(job.model, row["workload"], row["items"])
            row |= accuracy(row.pop("scores"), reference["scores"], row["scores_are"])
            lengths = reference["lengths"]
            row |= {"tokens": sum(lengths), "flops": model_flops(config, lengths)}
        if job.mode in ("cold", "cold-empty"):
            row |= {"cold_s": round(row.pop("answered") - spawned, 3)}
            row |= {"interpreter_s": round(row.pop("started") - spawned, 3)}
        return row

    def reference(self, model: str, workload: str, items: int) -> Row:
        """Scores and token counts of a sample, kept in a file.

        Raises:
            SystemExit: the reference could not be run; without it no accuracy can be said.
        """
        path: Path = self.args.cache / "reference" / model / f"{workload}-{items}.json"
        if not path.exists():
            job = Job("reference", model, "fp32", REFERENCE, 0, (workload,), {})
            outcome = self.child(job, "reference", ["--workloads", workload, "--limits", str(items)])
            if outcome.error:
                raise SystemExit(f"the reference failed on {model} {workload}: {outcome.error}")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(outcome.rows[0]))
        return json.loads(path.read_text())

    def record(self, job: Job, workload: str, row: Row) -> None:
        """Keeps the row of one workload."""
        full = {"kind": "measurement", **row, **job.key(workload)._asdict()}
        self.write(full)
        numbers = (full.get("sequences_s"), full.get("cold_s"), full.get("p50_ms"), full.get("reason"))
        said = next(number for number in numbers if number is not None)
        self.say(f"round {job.round} {job.mode} {job.model} {job.dtype} {workload} {job.peer}: {said}")

    def write(self, row: Row) -> None:
        """Appends to the file and to what is known."""
        results.append(self.args.output, row)
        self.rows.append(row)

    def say(self, line: str) -> None:
        """Progress, on stderr."""
        print(line, file=sys.stderr, flush=True)


def names(text: str) -> list[str]:
    """Names with commas between."""
    return [name for name in text.split(",") if name]


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models-folder", type=Path, required=True, help="made by benchmarks/models.py")
    parser.add_argument("--environments", type=Path, help="made by benchmarks/environments.py; default: this one")
    parser.add_argument("--cache", type=Path, required=True, help="exports, compiled programs, reference scores")
    parser.add_argument("--output", type=Path, default=Path("results.jsonl"))
    parser.add_argument("--models", type=names, default=list(LIMITS), help="default: all five")
    parser.add_argument("--workloads", type=names, default=list(WORKLOADS), help="of mode throughput")
    parser.add_argument("--dtypes", type=names, default=["fp32"], help=f"of {','.join(DTYPES)}; default: fp32")
    parser.add_argument("--modes", type=names, default=["throughput"], help=f"of {','.join(MODES)}")
    parser.add_argument("--peers", type=names, default=default_peers(), help="default: all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=lambda text: list(map(int, names(text))), help="items of W1,W2,W3, any model")
    parser.add_argument("--latency-texts", type=int, help="default: 200, for decoders 50")
    parser.add_argument("--passes", type=int, default=3, help="over a workload in one process, at most")
    parser.add_argument("--seconds", type=float, default=8, help="no further pass after so long")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--timeout", type=float, default=1800, help="seconds one process may take")
    parser.add_argument("--retry-failed", action="store_true", help="measure again what failed before")
    return parser.parse_args()


def main() -> None:
    """Runs the comparison that the command line asks for."""
    args = arguments()
    plan = Plan(
        check(args.models, LIMITS, "model"),
        check(args.modes, MODES, "mode"),
        check(args.dtypes, DTYPES, "dtype"),
        check(args.peers, PEERS, "peer"),
        check(args.workloads, WORKLOADS, "workload"),
        args.rounds,
    )
    Comparison(args, plan).run()


if __name__ == "__main__":
    main()

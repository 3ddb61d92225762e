"""Measures one peer on one model in this process and prints JSON lines.

    python -m benchmarks.measure PEER MODEL --mode prepare --cache DIR
    python -m benchmarks.measure PEER MODEL --mode throughput --cache DIR --workloads W1,W2 --limits 400,40
    python -m benchmarks.measure PEER MODEL --mode cold|latency --cache DIR

Run it with the interpreter of the environment that has the peer (benchmarks/environments.py). What the peers print goes
to stderr.

    prepare      exports and compiled programs are made, so that none of it is measured later
    throughput   passes over whole workloads, tokenisation included: wall and CPU seconds, scores
    cold         one answer, to a pair if --workloads is W3, else to a text; `answered` is CLOCK_MONOTONIC, so that
                 whoever spawned this process knows what it took
    latency      one short text after the other, each on its own: milliseconds
    reference    scores and numbers of tokens, nothing timed
"""

import time

STARTED = time.monotonic()

import argparse  # noqa: E402
import importlib  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import resource  # noqa: E402
import statistics  # noqa: E402
import sys  # noqa: E402
from collections.abc import Iterator  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from benchmarks.peers.base import Peer, Settings, UnsupportedError  # noqa: E402
from benchmarks.peers.table import EXPORTS, PEERS, environment_variables  # noqa: E402
from benchmarks.workloads import Item, make, sample  # noqa: E402

Row = dict[str, Any]
FIRST_TEXT = "The first text that a process is asked to classify, short and plain."
FIRST_PAIR = ("What is asked first?", "A passage that might answer the question, as short and plain as the text.")
FIRST = "first"  # the workload of a cold start
WARM_TEXTS = 20


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("model", type=Path)
    parser.add_argument("--mode", choices=("prepare", "throughput", "cold", "latency", "reference"), required=True)
    parser.add_argument("--cache", type=Path, required=True, help="where exports and compiled programs are kept")
    parser.add_argument("--programs", type=Path, help="keep compiled programs here instead, to start without any")
    parser.add_argument("--dtype", choices=("fp32", "bf16", "int8"), default="fp32")
    parser.add_argument("--workloads", default="W1", help="with commas; latency: one")
    parser.add_argument("--limits", help="items of each workload, with commas; for latency: texts")
    parser.add_argument("--passes", type=int, default=3, help="over each workload, at most")
    parser.add_argument("--seconds", type=float, default=8, help="no further pass once they have taken so long")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--streams", type=int, help="default: the peer's best")
    parser.add_argument("--batch", type=int, help="default: the peer's best")
    return parser.parse_args()


def settings_of(args: argparse.Namespace) -> Settings:
    """The peer's best settings, unless the command line says otherwise."""
    spec, model = PEERS[args.peer], args.model.resolve()
    throughput = args.mode in ("prepare", "throughput", "reference")
    cache = args.cache.resolve()
    return Settings(
        peer=args.peer,
        model=model,
        exports=cache / "exports" / EXPORTS.get(args.peer, args.peer) / model.name,
        programs=(args.programs or cache / "programs" / args.peer).resolve(),
        dtype=args.dtype,
        threads=args.threads,
        streams=args.streams or (spec.streams if throughput else 1),
        batch=args.batch or spec.batch,
    )


def workloads(args: argparse.Namespace) -> dict[str, list[Item]]:
    """Name -> items, sampled as the command line says."""
    names = args.workloads.split(",")
    limits = [int(limit) for limit in args.limits.split(",")] if args.limits else [None] * len(names)
    return {name: make(name, limit) for name, limit in zip(names, limits, strict=True)}


def load(settings: Settings) -> tuple[Peer, Row]:
    """The peer, ready, and what getting there took."""
    start = time.monotonic()
    module = importlib.import_module(f"benchmarks.peers.{PEERS[settings.peer].module}")
    imported = time.monotonic()
    peer = getattr(module, PEERS[settings.peer].cls)(settings)
    loaded = time.monotonic()
    return peer, {"import_s": round(imported - start, 3), "load_s": round(loaded - imported, 3)}


def prepare(settings: Settings, args: argparse.Namespace) -> Iterator[Row]:
    """Makes exports, then runs a little of everything, so that compiled programs are kept."""
    start = time.monotonic()
    module = importlib.import_module(f"benchmarks.peers.{PEERS[settings.peer].module}")
    if hasattr(module, "prepare"):
        module.prepare(settings)
    exported = time.monotonic()
    if PEERS[settings.peer].compiles:
        peer, _ = load(settings)
        for items in workloads(args).values():
            peer.warm(items)
    yield {"export_s": round(exported - start, 1), "compile_s": round(time.monotonic() - exported, 1)}


def throughput(settings: Settings, args: argparse.Namespace) -> Iterator[Row]:
    """One row a workload."""
    todo = workloads(args)
    peer, loading = load(settings)
    for name, items in todo.items():
        peer.warm(items)
        walls, cpus, scores = [], [], []
        while len(walls) < args.passes and sum(walls) < args.seconds:
            cpu, start = cpu_seconds(), time.monotonic()
            scores = peer.run(items)
            walls.append(round(time.monotonic() - start, 4))
            cpus.append(round(cpu_seconds() - cpu, 4))
        rates = {"sequences_s": round(len(items) / statistics.median(walls), 3)}
        row = {"workload": name, "items": len(items), "wall_s": walls, "cpu_s": cpus, **rates, **loading}
        yield row | usage() | {"scores": scores, "scores_are": peer.scores}


def cold(settings: Settings, args: argparse.Namespace) -> Iterator[Row]:
    """The first answer, and when it was there."""
    pairs = args.workloads == "W3"
    peer, loading = load(settings)
    start = time.monotonic()
    peer.run([FIRST_PAIR if pairs else FIRST_TEXT])
    answered = time.monotonic()
    row = {"workload": FIRST, "item": "pair" if pairs else "text", "started": STARTED, "answered": answered}
    yield row | loading | {"first_s": round(answered - start, 3), "cpu_s": round(cpu_seconds(), 3)} | usage()


def latency(settings: Settings, args: argparse.Namespace) -> Iterator[Row]:
    """Milliseconds of single texts, the first ones left out."""
    ((name, texts),) = workloads(args).items()
    peer, loading = load(settings)
    peer.warm(texts)
    for text in sample(texts, WARM_TEXTS):
        peer.run([text])
    cpu, times = cpu_seconds(), []
    for text in texts:
        start = time.perf_counter()
        peer.run([text])
        times.append((time.perf_counter() - start) * 1000)
    cuts = statistics.quantiles(times, n=100)
    row = {"workload": name, "items": len(texts), "p50_ms": round(cuts[49], 3), "p95_ms": round(cuts[94], 3)}
    yield row | {"cpu_s": round(cpu_seconds() - cpu, 3)} | loading | usage()


def reference(settings: Settings, args: argparse.Namespace) -> Iterator[Row]:
    """Scores and token counts of every item, by a peer whose tokenizer is at hand."""
    todo = workloads(args)
    peer: Any
    peer, _ = load(settings)
    for name, items in todo.items():
        lengths = [len(ids) for ids in peer.tokenizer(items).ids]
        yield {"workload": name, "items": len(items), "scores": peer.run(items), "lengths": lengths}


RUN = {"prepare": prepare, "throughput": throughput, "cold": cold, "latency": latency, "reference": reference}


def cpu_seconds() -> float:
    """CPU time of this process and of children that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def usage() -> Row:
    """The most memory that this process has held, and how busy the machine is."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {"rss_mb": round(int(status["VmHWM"].split()[0]) / 1000, 1), "load": round(os.getloadavg()[0], 2)}


def versions(peer: str) -> dict[str, str]:
    """Versions of the distributions that matter."""
    from importlib.metadata import version

    return {"python": sys.version.split()[0]} | {name: version(name) for name in PEERS[peer].packages}


def main() -> None:
    """Runs the mode; every row says what was measured, with which versions and settings."""
    args = arguments()
    settings = settings_of(args)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: settings.threads])
    os.environ.update(environment_variables(settings))
    rows = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    about = {"peer": args.peer, "model": settings.model.name, "dtype": args.dtype, "mode": args.mode}
    used = {"threads": settings.threads, "streams": settings.streams, "batch": settings.batch}
    try:
        for row in RUN[args.mode](settings, args):
            full = {**about, **row, "settings": used, "versions": versions(args.peer)}
            print(json.dumps(full), file=rows, flush=True)
    except UnsupportedError as error:
        print(json.dumps({**about, "unsupported": str(error)}), file=rows, flush=True)
    rows.close()
    sys.stderr.flush()
    os._exit(0)  # some peers leave threads behind that never end


if __name__ == "__main__":
    main()

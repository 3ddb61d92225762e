"""What a comparison measures, and in which order."""

import dataclasses
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from benchmarks.measure import FIRST
from benchmarks.peers.table import PEERS, applies, why_not
from benchmarks.results import Key
from benchmarks.workloads import WORKLOADS

# Items of W1, W2, W3: a pass takes seconds.
LIMITS = {
    "minilm": (400, 40, 60),
    "bert-base": (160, 16, 32),
    "xlmr-base": (160, 16, 32),
    "qwen2-0.5b": (64, 8, 16),
    "qwen3-0.6b": (64, 8, 16),
}
LATENCY_TEXTS = {"minilm": 200, "bert-base": 200, "xlmr-base": 200, "qwen2-0.5b": 50, "qwen3-0.6b": 50}


@dataclasses.dataclass(frozen=True)
class Job:
    """One process: a peer with a model in one mode, for one round.

    Attributes:
        workloads: what it measures.
        refused: workload -> why this peer cannot.
    """

    mode: str
    model: str
    dtype: str
    peer: str
    round: int
    workloads: tuple[str, ...]
    refused: dict[str, str]

    def key(self, workload: str) -> Key:
        """The key of one of its rows."""
        return Key(self.mode, self.model, self.dtype, self.peer, workload, self.round)

    def without(self, keys: Collection[Key]) -> "Job":
        """What of it is still to be done."""
        refused = {name: why for name, why in self.refused.items() if self.key(name) not in keys}
        workloads = tuple(name for name in self.workloads if self.key(name) not in keys)
        return dataclasses.replace(self, workloads=workloads, refused=refused)


@dataclasses.dataclass(frozen=True)
class Plan:
    """The cross product of what was asked for."""

    models: Sequence[str]
    modes: Sequence[str]
    dtypes: Sequence[str]
    peers: Sequence[str]
    workloads: Sequence[str]
    rounds: int

    def jobs(self, model: str, config: dict[str, Any], number: int) -> Iterator[Job]:
        """One round of a model. All peers of a mode and dtype follow each other, from another one on every round."""
        start = number % len(self.peers)
        turns = [*self.peers[start:], *self.peers[:start]]
        for mode in self.modes:
            for dtype in self.dtypes:
                for peer in turns:
                    if applies(peer, mode):
                        yield self._job(mode, model, config, dtype, peer, number)

    def _job(self, mode: str, model: str, config: dict[str, Any], dtype: str, peer: str, number: int) -> Job:
        if mode == "throughput":
            reasons = {name: why_not(peer, config, dtype, name) for name in self.workloads}
        elif mode == "latency":
            reasons = {"W1": why_not(peer, config, dtype, "W1")}
        else:  # the first answer is to a text; to a pair, where a peer takes nothing else
            reasons = {FIRST: first_item(peer, config, dtype)[1]}
        refused = {name: why for name, why in reasons.items() if why is not None}
        workloads = tuple(name for name, why in reasons.items() if why is None)
        return Job(mode, model, dtype, peer, number, workloads, refused)


def first_item(peer: str, config: dict[str, Any], dtype: str) -> tuple[str, str | None]:
    """The workload that a cold start's item is like, and why there is none."""
    text, pair = (why_not(peer, config, dtype, name) for name in ("W1", "W3"))
    return ("W3", None) if text and not pair else ("W1", text)


def limits(model: str, workloads: Sequence[str], given: Sequence[int] | None) -> dict[str, int]:
    """Items of each workload: those given, in their order, or the model's own."""
    if given is not None:
        return dict(zip(workloads, given, strict=True))
    own: dict[str, int] = dict(zip(WORKLOADS, LIMITS[model], strict=True))
    return {name: own[name] for name in workloads}


def check(names: Sequence[str], known: Collection[str], what: str) -> list[str]:
    """The names, if all are known.

    Raises:
        SystemExit: one is not.
    """
    for name in names:
        if name not in known:
            raise SystemExit(f"unknown {what} {name!r}; there are {', '.join(known)}")
    return list(names)


def default_peers() -> list[str]:
    """All of them."""
    return list(PEERS)

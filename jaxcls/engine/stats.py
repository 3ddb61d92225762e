"""Counters of what was computed."""

import dataclasses
from collections import Counter


@dataclasses.dataclass
class Stats:
    """Running totals of one engine.

    Attributes:
        prompts: requests computed.
        tokens_given: those of their tokens that steps had to compute.
        tokens_reused: tokens of prompts that were not computed for them: a prefix was there already.
        tokens_computed: tokens of all steps, padding included.
        steps: programs run.
        step_sizes: how many of them by the bits of their number of given tokens: 9 stands for 256 to 511.
        compiles: programs traced and compiled (or read from the compilation cache).
    """

    prompts: int = 0
    tokens_given: int = 0
    tokens_reused: int = 0
    tokens_computed: int = 0
    steps: int = 0
    step_sizes: Counter[int] = dataclasses.field(default_factory=Counter)
    compiles: int = 0

    @property
    def tokens_padded(self) -> int:
        """Computed tokens that were padding."""
        return self.tokens_computed - self.tokens_given

    @property
    def fill(self) -> float:
        """Share of computed tokens that were real; 1 before the first step."""
        return self.tokens_given / self.tokens_computed if self.tokens_computed else 1.0

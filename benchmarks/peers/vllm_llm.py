# pyright: reportMissingImports=false
"""vLLM's offline interface on its CPU build. It gives probabilities, not logits."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import vllm

from benchmarks.peers.base import Peer, Scores, Settings, only_pairs, only_texts
from benchmarks.workloads import Item

DTYPES = {"fp32": "float32", "bf16": "bfloat16"}


class Vllm(Peer):
    """LLM.classify for texts, LLM.score for pairs."""

    scores: ClassVar[Literal["logits", "probs"]] = "probs"

    def __init__(self, settings: Settings):
        self.truncation = {"truncation": True, "max_length": settings.max_length}
        self.llm = vllm.LLM(
            str(settings.model),
            runner="pooling",
            max_model_len=settings.max_length,
            seed=0,
            dtype=DTYPES[settings.dtype],  # pyright: ignore[reportArgumentType]
            max_num_seqs=settings.batch,
            max_num_batched_tokens=max(settings.batch_tokens, settings.max_length),
            enable_prefix_caching=False,  # it would answer the second pass over the same items
        )

    def run(self, items: Sequence[Item]) -> Scores:
        """Probabilities of every item."""
        if pairs := only_pairs(items):
            firsts, seconds = [first for first, _ in pairs], [second for _, second in pairs]
            outputs = self.llm.score(firsts, seconds, use_tqdm=False, tokenization_kwargs=self.truncation)
            return [[output.outputs.score] for output in outputs]
        outputs = self.llm.classify(only_texts(items), use_tqdm=False, tokenization_kwargs=self.truncation)
        return [output.outputs.probs for output in outputs]

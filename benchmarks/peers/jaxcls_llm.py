"""jaxcls, by its public interface."""

from collections.abc import Sequence
from typing import Any, Literal

from benchmarks.peers.base import Dtype, Peer, Scores, Settings
from benchmarks.workloads import Item
from jaxcls import LLM

DTYPES: dict[Dtype, Literal["float32", "bfloat16"]] = {"fp32": "float32", "bf16": "bfloat16", "int8": "bfloat16"}


class Jaxcls(Peer):
    """LLM.classify."""

    def __init__(self, settings: Settings):
        options: dict[str, Any] = {}
        if settings.dtype == "int8":
            options["quantization"] = "int8" if settings.peer == "jaxcls-weights" else "w8a8"
        self.llm = LLM(
            settings.model,
            dtype=DTYPES[settings.dtype],
            max_model_len=settings.max_length,
            compilation_cache_dir=settings.programs,
            local_files_only=True,
            **options,
        )
        self.tokenization = {"truncation": True, "max_length": settings.max_length}

    def run(self, items: Sequence[Item]) -> Scores:
        """Logits of every item."""
        outputs = self.llm.classify(list(items), use_tqdm=False, tokenization_kwargs=self.tokenization)
        return [output.outputs.logits for output in outputs if output.outputs is not None]

    def warm(self, items: Sequence[Item]) -> None:
        """Compiles every shape, then runs a sample."""
        self.llm.warmup(use_tqdm=False)
        super().warm(items)

"""jaxcls, by its public interface."""

from collections.abc import Sequence
from typing import Any, Literal

from tokenizers import Tokenizer

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
            enable_prefix_caching=False,  # it would answer the second pass over the same items
            **options,
        )
        self.tokenization = {"truncation": True, "max_length": settings.max_length}
        self.tokenizer = Tokenizer.from_file(str(settings.model / "tokenizer.json"))

    def run(self, items: Sequence[Item]) -> Scores:
        """Logits of every item."""
        outputs = self.llm.classify(self._prompts(items), use_tqdm=False, tokenization_kwargs=self.tokenization)
        return [output.outputs.logits for output in outputs if output.outputs is not None]

    def _prompts(self, items: Sequence[Item]) -> list[Any]:
        """The items; of pairs that the tokenizer puts nothing between, as the others do, the tokens of both."""
        # jaxcls does not guess what the prompt of such a pair should be.
        if isinstance(items[0], str) or self.tokenizer.num_special_tokens_to_add(is_pair=True):
            return list(items)
        encoded = self.tokenizer.encode_batch(list(items), add_special_tokens=False)
        return [{"prompt_token_ids": one.ids} for one in encoded]

    def warm(self, items: Sequence[Item]) -> None:
        """Compiles every shape, then runs a sample."""
        self.llm.warmup(use_tqdm=False)
        super().warm(items)

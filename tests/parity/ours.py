"""The same checkpoints through the public interface of jaxcls."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from jaxcls import LLM
from jaxcls.config.engine import DtypeName
from jaxcls.config.hf import HfView
from jaxcls.registry import find_architecture
from tests.parity.cases import Case, Prompt

Layout = Literal["unrolled", "stacked"]
LAYOUTS: tuple[Layout, ...] = ("unrolled", "stacked")

# Absolute, for logits of order 1.
PARITY = 2e-5
INVARIANCE = 1e-5


def layouts(config: Mapping[str, Any]) -> tuple[Layout, ...]:
    """The layouts that the layers of this configuration can have."""
    architecture = find_architecture(config["architectures"][0])
    return LAYOUTS if architecture.stacks(architecture.config(HfView(config))) else ("unrolled",)


def in_full(name: str) -> bool:
    """Whether `make test` runs a case in both layouts, optimised as for users: one a network, and those with windows.

    Of the others the suite and `make parity` check what is computed, which the compiler's optimisations do not decide.
    """
    return name.endswith("-base") or "window" in name


@contextmanager
def quick_compilation(name: str) -> Iterator[None]:
    """Programs compile in half the time within, and are slower, unless the case is one that runs `in_full`."""
    jax.config.update("jax_disable_most_optimizations", not in_full(name))
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", False)


def load_ours(case: Case, folder: Path, layout: Layout, *, dtype: DtypeName = "float32", **options: Any) -> LLM:
    """The case's checkpoint, without a tokenizer."""
    return LLM(
        folder,
        dtype=dtype,
        skip_tokenizer_init=True,
        layer_layout=layout,
        compilation_cache_dir=False,
        # All tokens of process reward models too, not only those that end a step.
        pooler_config={"pooling_type": "ALL"} if case.architecture == "Qwen2ForProcessRewardModel" else None,
        **options,
    )


def run_ours(llm: LLM, prompts: Sequence[Prompt]) -> np.ndarray:
    """Logits of all prompts in one call, float32 [prompts, labels]; of token classifiers [tokens, labels]."""
    inputs = [
        list(prompt.ids)
        if prompt.types is None
        else {"prompt_token_ids": list(prompt.ids), "token_type_ids": list(prompt.types)}
        for prompt in prompts
    ]
    if "classify" not in llm.model.checkpoint.tasks:
        outputs = llm.encode(inputs, pooling_task="token_classify", use_tqdm=False)
        return np.concatenate([out.outputs.logits for out in outputs])
    return np.array([out.outputs.logits for out in llm.classify(inputs, use_tqdm=False)], np.float32)

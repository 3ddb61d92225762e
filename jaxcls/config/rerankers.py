"""Published rerankers: known by family and name, so that none is ever run without its words or its prompt."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, Literal

Method = Literal["from_2_way_softmax", "no_post_processing"]


@dataclasses.dataclass(frozen=True)
class Reranker:
    """What a published reranker needs that its files do not say, as its author's code has it.

    Attributes:
        pattern: in the last part of the model's name.
        family: what its architecture's name begins with.
        template: the name of its prompt in `SCORE_TEMPLATES`.
        words: whose logits are the score, where the checkpoint is a language model; of two the false and the true one.
        method: how rows of the output matrix become the head.
        divisor: of the logit, where the checkpoint is a language model.
    """

    pattern: str
    family: str
    template: str
    words: tuple[str, ...] = ()
    method: Method = "no_post_processing"
    divisor: int = 1

    @property
    def name(self) -> str:
        """For people."""
        return f"the published reranker {self.template}"


RERANKERS = (
    Reranker(r"qwen3-reranker", "Qwen3", "qwen3-reranker", ("no", "yes"), "from_2_way_softmax"),
    Reranker(r"mxbai-rerank-(base|large)-v2", "Qwen2", "mxbai-rerank-v2", ("0", "1"), "from_2_way_softmax"),
    Reranker(r"bge-reranker-v2-gemma", "Gemma", "bge-reranker-v2-gemma", ("Yes",)),
    # The checkpoints of polaria-tech are classifiers whose head has been divided by 5 already.
    Reranker(r"zerank-[12]", "Qwen3", "zerank", ("Yes",), divisor=5),
    Reranker(r"llama-(nemotron-rerank|3\.2-nv-rerankqa)", "LlamaBidirectional", "nemotron-rerank"),
)


def published_reranker(values: Mapping[str, Any], architecture: str, model: str) -> Reranker | None:
    """The published reranker that a checkpoint is; None: it is none, or none that needs a prompt.

    Args:
        values: config.json.
        architecture: its class name.
        model: what the caller loads, a directory or a hub id.
    """
    names = (model_name(model), model_name(str(values.get("_name_or_path") or "")))
    for reranker in RERANKERS:
        named = any(re.search(reranker.pattern, name, re.IGNORECASE) for name in names)
        if named and architecture.startswith((f"{reranker.family}For", f"{reranker.family}Model")):
            return reranker
    return None


def model_name(model: str) -> str:
    """The last part of a hub id or directory; of a snapshot in the hub's cache, the name of its repository."""
    parts = re.split(r"[/\\]", model.rstrip("/\\"))
    return parts[-3] if parts[-2:-1] == ["snapshots"] and len(parts) > 2 else parts[-1]

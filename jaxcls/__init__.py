"""jaxcls: a JAX/XLA runtime for classification.

The names below are imported on first use, so that `import jaxcls` costs nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

from jaxcls.collector import collector_paused

if TYPE_CHECKING:
    from jaxcls.async_llm import AsyncLLM
    from jaxcls.config.pooler import PoolerConfig
    from jaxcls.llm import LLM
    from jaxcls.outputs import (
        ClassificationOutput,
        ClassificationRequestOutput,
        EmbeddingOutput,
        EmbeddingRequestOutput,
        LabelScore,
        PoolingOutput,
        PoolingRequestOutput,
        RewardOutput,
        RewardRequestOutput,
        Span,
        TokenClassificationOutput,
        TokenClassificationRequestOutput,
        TokenEmbeddingOutput,
        TokenEmbeddingRequestOutput,
        ZeroShotOutput,
        ZeroShotRequestOutput,
    )
    from jaxcls.pooling_params import PoolingParams

__version__ = "0.1.0"

_EXPORTS = {
    "LLM": "jaxcls.llm",
    "AsyncLLM": "jaxcls.async_llm",
    "PoolerConfig": "jaxcls.config.pooler",
    "PoolingParams": "jaxcls.pooling_params",
    "ClassificationOutput": "jaxcls.outputs",
    "ClassificationRequestOutput": "jaxcls.outputs",
    "EmbeddingOutput": "jaxcls.outputs",
    "EmbeddingRequestOutput": "jaxcls.outputs",
    "LabelScore": "jaxcls.outputs",
    "PoolingOutput": "jaxcls.outputs",
    "PoolingRequestOutput": "jaxcls.outputs",
    "RewardOutput": "jaxcls.outputs",
    "RewardRequestOutput": "jaxcls.outputs",
    "Span": "jaxcls.outputs",
    "TokenClassificationOutput": "jaxcls.outputs",
    "TokenClassificationRequestOutput": "jaxcls.outputs",
    "TokenEmbeddingOutput": "jaxcls.outputs",
    "TokenEmbeddingRequestOutput": "jaxcls.outputs",
    "ZeroShotOutput": "jaxcls.outputs",
    "ZeroShotRequestOutput": "jaxcls.outputs",
}

__all__ = [
    "LLM",
    "AsyncLLM",
    "ClassificationOutput",
    "ClassificationRequestOutput",
    "EmbeddingOutput",
    "EmbeddingRequestOutput",
    "LabelScore",
    "PoolerConfig",
    "PoolingOutput",
    "PoolingParams",
    "PoolingRequestOutput",
    "RewardOutput",
    "RewardRequestOutput",
    "Span",
    "TokenClassificationOutput",
    "TokenClassificationRequestOutput",
    "TokenEmbeddingOutput",
    "TokenEmbeddingRequestOutput",
    "ZeroShotOutput",
    "ZeroShotRequestOutput",
]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'jaxcls' has no attribute {name!r}")
    with collector_paused():
        return getattr(importlib.import_module(_EXPORTS[name]), name)

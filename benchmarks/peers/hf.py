# pyright: reportMissingImports=false
"""transformers on torch: eager, sdpa and compiled."""

from typing import Any

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification

from benchmarks.peers.base import Settings
from benchmarks.peers.batched import Batched

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class Transformers(Batched):
    """AutoModelForSequenceClassification."""

    def __init__(self, settings: Settings):
        super().__init__(settings)
        torch.set_num_threads(settings.threads)
        attention = "eager" if settings.peer == "transformers-eager" else "sdpa"
        self.model: Any = torch_model(settings, attention, DTYPES[settings.dtype])
        if settings.peer == "transformers-compile":
            self.model = torch.compile(self.model, dynamic=True)

    def forward(self, arrays: dict[str, np.ndarray]) -> np.ndarray:
        """Logits [rows, C]."""
        with torch.inference_mode():
            output = self.model(**{name: torch.from_numpy(array) for name, array in arrays.items()})
        return output.logits.float().numpy()


def torch_model(settings: Settings, attention: str, dtype: Any = torch.float32) -> Any:
    """The checkpoint as a torch module."""
    model = AutoModelForSequenceClassification.from_pretrained(
        settings.model, dtype=dtype, attn_implementation=attention
    )
    model.config.use_cache = False
    return model.eval()

# pyright: reportMissingImports=false
"""OpenVINO on a conversion from torch; int8 is nncf's weight compression."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openvino

from benchmarks.peers.base import Settings, make_once
from benchmarks.peers.batched import Batch, Batched, input_names

# Of what is not quantised. With int8 weights, "bf16" and two streams 2026.4.1 gives wrong scores (-53 for -0.02).
PRECISIONS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}


class OpenVino(Batched):
    """A compiled model and a queue of requests."""

    def __init__(self, settings: Settings):
        super().__init__(settings)
        path = settings.exports / ("int8" if settings.dtype == "int8" else "converted") / "model.xml"
        options = {
            "INFERENCE_NUM_THREADS": settings.threads,
            "NUM_STREAMS": settings.streams,
            "INFERENCE_PRECISION_HINT": PRECISIONS[settings.dtype],
        }
        model = openvino.Core().compile_model(str(path), "CPU", options)
        self.queue: Any = openvino.AsyncInferQueue(model, settings.streams)
        self.names = {name for entry in model.inputs for name in entry.get_names()}

    def forward(self, arrays: dict[str, np.ndarray]) -> np.ndarray:
        """Logits [rows, C]."""
        ((_, scores),) = self.forward_all(iter([Batch([], arrays)]))
        return scores

    def forward_all(self, todo: Iterator[Batch]) -> Iterator[tuple[list[int], np.ndarray]]:
        """Indices and logits of every batch, in the order in which they finish."""
        done: list[tuple[list[int], np.ndarray]] = []
        self.queue.set_callback(lambda request, indices: done.append((indices, _scores(request))))
        for batch in todo:
            arrays = {name: array for name, array in batch.arrays.items() if name in self.names}
            self.queue.start_async(arrays, batch.indices)
        self.queue.wait_all()
        return iter(done)


def _scores(request: Any) -> np.ndarray:
    return request.get_output_tensor(0).data.copy()


def prepare(settings: Settings) -> None:
    """Converts the checkpoint, and compresses its weights where int8 is asked for."""
    converted = settings.exports / "converted"
    make_once(converted, lambda folder: _convert(settings, folder / "model.xml"))
    if settings.dtype == "int8":
        make_once(settings.exports / "int8", lambda folder: _compress(converted / "model.xml", folder / "model.xml"))


def _convert(settings: Settings, path: Path) -> None:
    import torch

    from benchmarks.peers.hf import torch_model

    example = {name: torch.ones((2, 16), dtype=torch.int64) for name in input_names(settings.config["model_type"])}
    converted = openvino.convert_model(torch_model(settings, "sdpa"), example_input=example)
    openvino.save_model(converted, str(path), compress_to_fp16=False)


def _compress(source: Path, path: Path) -> None:
    import nncf

    model = nncf.compress_weights(openvino.Core().read_model(source), mode=nncf.CompressWeightsMode.INT8_SYM)
    openvino.save_model(model, str(path))

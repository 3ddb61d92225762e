# pyright: reportMissingImports=false
"""sentence-transformers' CrossEncoder on torch, ONNX and OpenVINO. It takes pairs only."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sentence_transformers
import torch

from benchmarks.peers.base import Peer, Scores, Settings, make_once, only_pairs
from benchmarks.workloads import Item

DTYPES = {"fp32": "float32", "bf16": "bfloat16"}
PRECISIONS = {"fp32": "f32", "bf16": "bf16"}
EXPORTS = {"onnx": {"provider": "CPUExecutionProvider"}, "openvino": {}}


class CrossEncoder(Peer):
    """CrossEncoder.predict without an activation."""

    def __init__(self, settings: Settings):
        self.settings = settings
        torch.set_num_threads(settings.threads)
        backend = _backend(settings.peer)
        path = settings.exports if backend in EXPORTS else settings.model
        self.model = _open(settings, path, backend, _options(settings, backend))
        self.identity = torch.nn.Identity()

    def run(self, items: Sequence[Item]) -> Scores:
        """Logits of every pair."""
        scores = self.model.predict(
            only_pairs(items),
            batch_size=self.settings.batch,
            activation_fn=self.identity,
            show_progress_bar=False,
        )
        return scores.reshape(len(items), -1).tolist()


def _backend(peer: str) -> str:
    return {"": "torch", "onnx": "onnx", "openvino": "openvino"}[peer.removeprefix("sentence-transformers").strip("-")]


def _options(settings: Settings, backend: str) -> dict[str, Any]:
    if backend == "onnx":
        return {"provider": "CPUExecutionProvider"}
    if backend == "openvino":
        precision = PRECISIONS[settings.dtype]
        return {"ov_config": {"INFERENCE_NUM_THREADS": settings.threads, "INFERENCE_PRECISION_HINT": precision}}
    return {"torch_dtype": DTYPES[settings.dtype]}


def _open(settings: Settings, path: Any, backend: str, options: dict[str, Any]) -> Any:
    return sentence_transformers.CrossEncoder(
        str(path),
        backend=backend,  # pyright: ignore[reportArgumentType]
        max_length=settings.max_length,
        device="cpu",
        model_kwargs=options,
    )


def prepare(settings: Settings) -> None:
    """Exports the checkpoint for the backends that need it."""
    backend = _backend(settings.peer)
    if backend in EXPORTS:
        make_once(settings.exports, lambda folder: _export(settings, backend, folder))


def _export(settings: Settings, backend: str, folder: Path) -> None:
    model = _open(settings, settings.model, backend, {"export": True, **EXPORTS[backend]})
    model.save_pretrained(str(folder))

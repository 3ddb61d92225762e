# pyright: reportMissingImports=false
"""ONNX Runtime on an export by torch, its transformer fusions applied; int8 is its dynamic quantisation."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from benchmarks.peers.base import Settings, make_once
from benchmarks.peers.batched import Batched, input_names

FUSED = frozenset({"bert", "xlm-roberta"})  # whose attention the optimiser knows


class OnnxRuntime(Batched):
    """An InferenceSession."""

    def __init__(self, settings: Settings):
        super().__init__(settings)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = max(1, settings.threads // settings.streams)
        options.inter_op_num_threads = 1
        path = settings.exports / ("int8" if settings.dtype == "int8" else "best") / "model.onnx"
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.names = {entry.name for entry in self.session.get_inputs()}

    def forward(self, arrays: dict[str, np.ndarray]) -> np.ndarray:
        """Logits [rows, C]."""
        return self.session.run(["logits"], {name: a for name, a in arrays.items() if name in self.names})[0]


def prepare(settings: Settings) -> None:
    """Exports the checkpoint, fuses it, and quantises it where int8 is asked for."""
    best = settings.exports / "best"
    make_once(best, lambda folder: _best(settings, folder))
    if settings.dtype == "int8":
        make_once(settings.exports / "int8", lambda folder: _quantise(best / "model.onnx", folder / "model.onnx"))


def _best(settings: Settings, folder: Path) -> None:
    path = folder / "model.onnx"
    if settings.config["model_type"] not in FUSED:
        _export(settings, path)
        return
    with tempfile.TemporaryDirectory(dir=folder) as plain:
        _export(settings, Path(plain) / "model.onnx")
        _fuse(settings.config, Path(plain) / "model.onnx", path)


def _export(settings: Settings, path: Path) -> None:
    import torch

    from benchmarks.peers.hf import torch_model

    names = input_names(settings.config["model_type"])
    model = torch_model(settings, "eager")

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *arrays: Any) -> Any:
            return self.model(**dict(zip(names, arrays, strict=True))).logits

    axes: dict[str, dict[int, str]] = {name: {0: "batch", 1: "length"} for name in names}
    with torch.inference_mode():
        torch.onnx.export(
            Logits().eval(),
            tuple(torch.ones((2, 16), dtype=torch.int64) for _ in names),
            str(path),
            input_names=names,
            output_names=["logits"],
            opset_version=18,
            dynamo=False,
            dynamic_axes=axes | {"logits": {0: "batch"}},
        )


def _fuse(config: dict[str, Any], plain: Path, path: Path) -> None:
    from onnxruntime.transformers import optimizer

    model = optimizer.optimize_model(
        str(plain),
        model_type="bert",
        num_heads=config["num_attention_heads"],
        hidden_size=config["hidden_size"],
        opt_level=0,
    )
    model.save_model_to_file(str(path))


def _quantise(source: Path, path: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    size = sum(file.stat().st_size for file in source.parent.iterdir())
    quantize_dynamic(
        source,
        path,
        weight_type=QuantType.QInt8,
        per_channel=True,
        op_types_to_quantize=["MatMul", "Attention", "Gemm"],
        use_external_data_format=size > 2**31 - 2**24,  # what a protobuf file can hold
        extra_options={"DefaultTensorType": 1},  # the fused operators' outputs have no type of their own
    )

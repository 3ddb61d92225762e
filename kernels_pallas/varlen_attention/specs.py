"""What has to compile for every accelerator: the sizes of published encoders and decoders, and the odd ones."""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from kernels_pallas.specs import Spec, kernels_for
from kernels_pallas.varlen_attention.api import RowGroup, varlen_attention


@dataclasses.dataclass(frozen=True)
class _Case:
    heads: int
    kv_heads: int
    head_dim: int
    row_groups: tuple[RowGroup, ...]
    causal: bool = False
    window: int | None = None
    traced: bool = False
    soft_cap: float | None = None
    unseen: bool = False
    dtype: str = "bfloat16"
    lean: bool = True


_CASES = {
    "MiniLM": _Case(12, 12, 32, ((64, 128),)),
    "BERT-base, rows of 512": _Case(12, 12, 64, ((16, 512),), lean=False),
    "BERT-base, float32": _Case(12, 12, 64, ((16, 512),), dtype="float32"),
    "ModernBERT": _Case(12, 12, 64, ((4, 2048),), window=64, lean=False),
    "ColBERT, tokens seen by none": _Case(12, 12, 64, ((64, 128),), unseen=True, lean=False),
    "Qwen3-0.6B": _Case(16, 8, 128, ((16, 512),), causal=True),
    "Gemma 2, windows of a scan": _Case(8, 4, 256, ((1, 8192),), causal=True, traced=True, soft_cap=50.0),
    "multi-query": _Case(16, 1, 128, ((4, 2048),), causal=True, lean=False),
    "heads of 96": _Case(32, 32, 96, ((16, 512),), causal=True, lean=False),
    "heads of 80, an odd row": _Case(6, 3, 80, ((1, 704),)),
    "heads of 16, one short row": _Case(4, 2, 16, ((1, 32),), dtype="float32", lean=False),
    "32,768 tokens": _Case(32, 8, 128, ((1, 32768),), causal=True, lean=False),
}


def _spec(name: str, case: _Case) -> Spec:
    tokens = sum(count * length for count, length in case.row_groups)
    q, kv = (
        jax.ShapeDtypeStruct((tokens, heads, case.head_dim), jnp.dtype(case.dtype))
        for heads in (case.heads, case.kv_heads)
    )
    segments, window = jax.ShapeDtypeStruct((tokens,), jnp.int32), jax.ShapeDtypeStruct((), jnp.int32)
    more = {"window": window} if case.traced else {"key_segment_ids": segments} if case.unseen else {}
    options: dict[str, Any] = {
        "row_groups": case.row_groups,
        "scale": case.head_dim**-0.5,
        "causal": case.causal,
        "window": case.window,
        "soft_cap": case.soft_cap,
    }
    return Spec(
        "varlen_attention",
        name,
        (q, kv, kv, segments, *more.values()),
        partial(_call, tuple(more), options),
        implementations=kernels_for(case.dtype),
        lean=case.lean,
    )


def _call(names: tuple[str, ...], options: dict[str, Any], *arguments: Any, implementation: Any) -> Any:
    named = dict(zip(names, arguments[4:], strict=True))
    return varlen_attention(*arguments[:4], **(options | named), implementation=implementation)


SPECS = tuple(_spec(name, case) for name, case in _CASES.items())

"""What has to compile for every accelerator: the sizes of published decoders, and the odd ones."""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from kernels_pallas.ragged_paged_attention.api import ragged_paged_attention
from kernels_pallas.specs import Spec, kernels_for


@dataclasses.dataclass(frozen=True)
class _Case:
    heads: int
    kv_heads: int
    head_dim: int
    tokens: int = 2048
    page_size: int = 64
    seqs: int = 64
    per_seq: int = 64
    window: int | None = None
    traced: bool = False
    soft_cap: float | None = None
    dtype: str = "bfloat16"
    lean: bool = True


_CASES = {
    "Qwen3-0.6B": _Case(16, 8, 128),
    "Qwen3-8B, pages of 16": _Case(32, 8, 128, page_size=16, lean=False),
    "Gemma 2, windows of a scan": _Case(8, 4, 256, page_size=16, traced=True, soft_cap=50.0),
    "Mistral, window": _Case(32, 8, 128, window=4096, per_seq=512, lean=False),
    "multi-query, heads of 64": _Case(16, 1, 64),
    "heads of 80, three": _Case(9, 3, 80, tokens=512, lean=False),
    "heads of 32, float32": _Case(4, 2, 32, tokens=128, page_size=16, dtype="float32", lean=False),
    "32,768 tokens by 2,048": _Case(32, 8, 128, seqs=8, per_seq=512, lean=False),
}
_PAGES = 1024


def _spec(name: str, case: _Case) -> Spec:
    dtype = jnp.dtype(case.dtype)
    q = jax.ShapeDtypeStruct((case.tokens, case.heads, case.head_dim), dtype)
    kv_pages = jax.ShapeDtypeStruct((_PAGES, case.page_size, 2 * case.kv_heads, case.head_dim), dtype)
    shapes = ((case.seqs,), (case.seqs, case.per_seq), (case.seqs + 1,), (1,))
    tables = [jax.ShapeDtypeStruct(shape, jnp.int32) for shape in (*shapes, *([()] if case.traced else []))]
    options = {"scale": case.head_dim**-0.5, "window": case.window, "soft_cap": case.soft_cap}
    arguments = (q, kv_pages, *tables)
    return Spec(
        "ragged_paged_attention",
        name,
        arguments,
        partial(_call, options),
        implementations=kernels_for(case.dtype),
        lean=case.lean,
        row_major=(1,),
    )


def _call(options: dict[str, Any], *arguments: Any, implementation: Any) -> Any:
    traced = {"window": arguments[6]} if len(arguments) > 6 else {}
    return ragged_paged_attention(*arguments[:6], **(options | traced), implementation=implementation)


SPECS = tuple(_spec(name, case) for name, case in _CASES.items())

"""What has to compile for every accelerator, in place."""

import jax
import jax.numpy as jnp

from kernels_pallas.specs import Platform, Spec
from kernels_pallas.write_pages.api import write_pages


def _spec(name: str, tokens: int, kv_heads: int, head_dim: int, dtype: str = "bfloat16", *, lean: bool = True) -> Spec:
    kv_pages = jax.ShapeDtypeStruct((1024, 64, 2 * kv_heads, head_dim), jnp.dtype(dtype))
    kv = jax.ShapeDtypeStruct((tokens, kv_heads, head_dim), jnp.dtype(dtype))
    slots = jax.ShapeDtypeStruct((tokens,), jnp.int32)
    arguments = (kv_pages, kv, kv, slots)
    # On GPUs XLA's scatter is in place already.
    implementations: dict[Platform, str] = {"tpu": "tpu", "cuda": "xla"}
    return Spec("write_pages", name, arguments, write_pages, implementations, lean=lean, donated=0, row_major=(0,))


SPECS = (
    _spec("Qwen3-0.6B", 2048, 8, 128),
    _spec("heads of 64", 2048, 12, 64, lean=False),
    _spec("heads of 80, three", 500, 3, 80, "float32", lean=False),
)

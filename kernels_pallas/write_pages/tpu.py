"""A Pallas kernel for TPUs: every token's keys and values are copied to their slot, many copies under way at a time.

XLA's scatter is in place as well, but writes one token after the other.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from kernels_pallas.blocks import LANES, block_sizes, largest_power_of_two
from kernels_pallas.platform import device_kind

# Scalar memory for the slots; every generation has 1 MiB.
_MAX_TOKENS = 2**17
_MIB = 2**20


def unsupported(num_tokens: int, dtype: DTypeLike) -> str | None:
    """Why the kernel cannot write this; None if it can."""
    if jnp.dtype(dtype).name not in ("bfloat16", "float32"):
        return f"there is no kernel for {jnp.dtype(dtype).name}"
    return f"{num_tokens} tokens are more than {_MAX_TOKENS}" if num_tokens > _MAX_TOKENS else None


def write_pages(
    kv_pages: Float[Array, "P B twoK H"],
    k: Float[Array, "T K H"],
    v: Float[Array, "T K H"],
    slots: Int[Array, " T"],
    *,
    interpret: bool = False,
) -> Float[Array, "P B twoK H"]:
    """See `kernels_pallas.write_pages.api.write_pages`.

    `interpret` runs the kernel's operations one by one, on any machine.
    """
    num_pages, page_size, *row = kv_pages.shape
    kv = jnp.stack([k, v], axis=2).reshape(len(k), *row).astype(kv_pages.dtype)
    sizes = block_sizes("write_pages", "tpu", device_kind())
    row_bytes = -(-row[0] // 8) * 8 * -(-row[1] // LANES) * LANES * kv_pages.dtype.itemsize
    block = largest_power_of_two(1 << 30, min(sizes["tokens"], sizes["vmem_mib"] * _MIB // (2 * row_bytes)))
    missing = -len(k) % block
    kv = jnp.pad(kv, ((0, missing), (0, 0), (0, 0)))
    slots = jnp.pad(slots, (0, missing), constant_values=num_pages * page_size)
    anywhere = pl.BlockSpec(memory_space=pl.ANY)
    return pl.pallas_call(
        partial(_kernel, page_size=page_size),
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=1,
            grid=(len(kv) // block,),
            in_specs=[pl.BlockSpec((block, *row), lambda step, _: (step, 0, 0)), anywhere],
            out_specs=anywhere,
            scratch_shapes=[pltpu.SemaphoreType.DMA],
        ),
        out_shape=jax.ShapeDtypeStruct(kv_pages.shape, kv_pages.dtype),
        input_output_aliases={2: 0},
        cost_estimate=pl.CostEstimate(flops=0, bytes_accessed=2 * kv.size * kv_pages.dtype.itemsize, transcendentals=0),
        interpret=interpret,
        name="write_pages",
    )(slots, kv, kv_pages)


def _kernel(slots: Any, kv: Any, pages: Any, out: Any, semaphore: Any, *, page_size: int) -> None:
    """Copies of one block of tokens: all are started before the first is waited for."""
    del pages  # `out` is the same memory
    block = kv.shape[0]
    first = pl.program_id(0) * block

    def copy(index: Any, act: Any) -> None:
        slot = slots[first + index]

        @pl.when(slot < out.shape[0] * page_size)
        def _() -> None:
            to = out.at[slot // page_size, slot % page_size]
            act(pltpu.make_async_copy(kv.at[index], to, semaphore))

    for act in (lambda made: made.start(), lambda made: made.wait()):
        jax.lax.fori_loop(0, block, lambda index, _, act=act: copy(index, act), None)

"""The kernel for Hopper GPUs over keys that lie packed: one stream, of which each query sees an interval."""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from kernels_pallas.mosaic_gpu import flash
from kernels_pallas.mosaic_gpu.keys import Deliver, Refs
from kernels_pallas.mosaic_gpu.tiles import ROWS, Limits, make_tiles
from kernels_pallas.varlen_attention.gradient import Options, RowGroups, through_xla

# Below every score there is.
_HIDDEN = -1e30


@dataclasses.dataclass(frozen=True)
class PackedKeys:
    """Keys and values as the op has them; `added` [T] for each key, float32."""

    k: jax.Array
    v: jax.Array
    added: jax.Array | None
    block: int
    value_copies: int = 1
    stale_ends: bool = False

    @property
    def operands(self) -> tuple[jax.Array, ...]:
        """See `Keys`."""
        return (self.k, self.v) if self.added is None else (self.k, self.v, self.added)

    @property
    def adds(self) -> bool:
        """See `Keys`."""
        return self.added is not None

    @property
    def key_copies(self) -> int:
        """See `Keys`."""
        return 1 + self.adds

    def deliver_all(self, refs: Refs, tile: Any, kv_head: Any, first: Any, stop: Any, deliver: Deliver) -> None:
        """See `Keys`."""
        del tile
        k_ref, v_ref, *added_ref = refs

        @pl.loop(first, stop)
        def _(number: Any) -> None:
            block = pl.ds(number * self.block, self.block)

            def keys(into: Any, barrier: Any, added: Any) -> None:
                plgpu.copy_gmem_to_smem(k_ref.at[block, kv_head], into, barrier)
                for ref in added_ref:
                    plgpu.copy_gmem_to_smem(ref.at[block], added, barrier)

            def values(into: Any, barrier: Any) -> None:
                plgpu.copy_gmem_to_smem(v_ref.at[block, kv_head], into, barrier)

            deliver(number - first, keys, values)


def unsupported(head_dim: int, dtype: DTypeLike, scale: float, bias: object) -> str | None:
    """Why the kernel cannot compute this attention on any GPU; None if it can."""
    if bias is not None:
        # It is as large as all scores together: reading it takes the time, and a kernel would gain nothing over XLA.
        return "scores have a bias"
    return flash.unsupported(head_dim, dtype, scale)


@dataclasses.dataclass(frozen=True)
class _Options(Options):
    limits: Limits


# jit: traced once for all layers of a model.
@partial(jax.jit, static_argnames=("row_groups", "scale", "causal", "soft_cap", "limits"))
def varlen_attention(
    q: Float[Array, "T N H"],
    k: Float[Array, "T K H"],
    v: Float[Array, "T K H"],
    segment_ids: Int[Array, " T"],
    *,
    row_groups: RowGroups,
    scale: float,
    causal: bool,
    window: int | Int[Array, ""] | None,
    soft_cap: float | None,
    key_segment_ids: Int[Array, " T"] | None,
    limits: Limits,
) -> Float[Array, "T N H"]:
    """See `kernels_pallas.varlen_attention.api.varlen_attention`; differentiated through the XLA implementation.

    A sequence's tokens lie side by side. `limits` are the device's.
    """
    window = None if window is None else jnp.asarray(window, jnp.int32)
    options = _Options(row_groups, scale, causal, soft_cap, limits)
    return _attend(q, k, v, segment_ids, key_segment_ids, window, None, options)


@through_xla
def _attend(
    q: Float[Array, "T N H"],
    k: Float[Array, "T K H"],
    v: Float[Array, "T K H"],
    segment_ids: Int[Array, " T"],
    key_segment_ids: Int[Array, " T"] | None,
    window: Int[Array, ""] | None,
    query_tokens: None,
    options: _Options,
) -> Float[Array, "T N H"]:
    del query_tokens
    num_tokens, num_heads, head_dim = q.shape
    group = num_heads // k.shape[1]
    missing, wide = -num_tokens % ROWS, flash.head_padding(head_dim)
    tiling = flash.choose_tiling(group, head_dim + wide, q.dtype, options.limits)
    q, k, v = (jnp.pad(x, ((0, missing), (0, 0), (0, wide))) for x in (q, k, v))
    segments = jnp.pad(segment_ids, (0, missing), constant_values=-1)
    first, end = visible_keys(segments, causal=options.causal, window=window)
    added = None
    if key_segment_ids is not None:
        added = jnp.where(jnp.pad(key_segment_ids, (0, missing)) == segments, jnp.float32(0), _HIDDEN)
    keys = PackedKeys(k, v, added, tiling.keys)
    # A block with hidden keys is seen whole by nobody.
    tiles = make_tiles(first, end, tiling, whole=added is None)
    # As if every row were one sequence: how a step's rows divide is known only when it runs.
    pairs = sum(count * length**2 for count, length in options.row_groups) // (2 if options.causal else 1)
    out = flash.attend(
        q,
        tiles,
        keys,
        tiling,
        group=group,
        scale=options.scale,
        soft_cap=options.soft_cap,
        pairs=pairs,
        read=num_tokens,
        name="varlen_attention",
    )
    return out[:num_tokens, :, :head_dim]


def visible_keys(
    segment_ids: Int[Array, " T"], *, causal: bool, window: Int[Array, ""] | None
) -> tuple[Int[Array, " T"], Int[Array, " T"]]:
    """The first key that each token sees, and that after its last; the same for padding, which sees none."""
    index = jnp.arange(len(segment_ids), dtype=jnp.int32)
    begins = jnp.append(True, segment_ids[1:] != segment_ids[:-1])
    ends = jnp.append(begins[1:], True)
    first = jax.lax.cummax(jnp.where(begins, index, 0))
    end = jax.lax.cummin(jnp.where(ends, index + 1, len(index)), reverse=True)
    if causal:
        end = jnp.minimum(end, index + 1)
    if window is not None:
        # Differences, because a window may be the largest number there is.
        first = jnp.where(index - first < window, first, index - window + 1)
        end = jnp.where(end - index <= window, end, index + window)
    return first, jnp.where(segment_ids < 0, first, end)

"""Softmax attention of tiles of queries over blocks of keys, for Hopper GPUs.

A block of threads has a tile of queries: of several heads that share their keys, and of several tokens. One warpgroup
copies keys and values to shared memory, a few blocks ahead (TMA); two others have half of the rows each, multiply
(wgmma) and keep the running softmax in registers. They take turns, so that one multiplies while the other takes
exponentials. This division is FlashAttention-3's (Shah et al. 2024).
"""

import dataclasses
import inspect
import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from kernels_pallas.mosaic_gpu.keys import CopyKeys, CopyValues, Keys
from kernels_pallas.mosaic_gpu.tiles import ROWS, WARPGROUP_ROWS, Limits, Tiles, Tiling

# What a block of threads may have on Hopper, less what barriers and the compiler take.
SHARED_MEMORY = 220 * 1024
# Head sizes are multiples of what one instruction multiplies along them.
HEAD_STEP = 16
MAX_HEAD_DIM = 256
_LOG2_E = math.log2(math.e)
# A score that is not seen, and the least that a maximum can be: so far apart that the exponential is zero, even where
# scaling rounds differently in one place and another.
_UNSEEN, _LEAST = -1e30, -1e20
_MEMORY_REGISTERS, _COMPUTE_REGISTERS = 40, 232


def head_padding(head_dim: int) -> int:
    """What a head is short of the kernel's next size."""
    return -head_dim % HEAD_STEP


def unsupported(head_dim: int, dtype: DTypeLike, scale: float) -> str | None:
    """Why the kernel cannot compute this on any GPU; None if it can."""
    name = jnp.dtype(dtype).name
    if name not in ("bfloat16", "float16"):
        return f"{name} would be rounded: the units that multiply take 16 bits"
    if head_dim > MAX_HEAD_DIM:
        return f"the head dimension, {head_dim}, is above {MAX_HEAD_DIM}"
    return None if scale > 0 else f"the scale, {scale}, is not above zero"


def choose_tiling(group: int, head_dim: int, dtype: DTypeLike, limits: Limits) -> Tiling:
    """As many heads of the `group` that shares a key as divide it, and as many stages as fit; `head_dim` is padded."""
    row = head_dim * jnp.dtype(dtype).itemsize
    keys = limits.keys if head_dim <= 128 else limits.wide_keys
    stages = (SHARED_MEMORY - ROWS * row) // (2 * keys * row)
    return Tiling(min(group & -group, limits.heads), keys, min(stages, limits.stages))


def attend(
    q: Float[Array, "T N H"],
    tiles: Tiles,
    keys: Keys,
    tiling: Tiling,
    *,
    group: int,
    scale: float,
    soft_cap: float | None,
    pairs: int,
    read: int,
    name: str,
) -> Float[Array, "T N H"]:
    """Runs the kernel.

    Args:
        q: queries, whole tiles of tokens; bfloat16 or float16.
        tiles: which keys they see.
        keys: where keys and values come from.
        tiling: sizes.
        group: query heads that share a key.
        scale: factor on q k^T, above zero.
        soft_cap: scores s become soft_cap * tanh(s / soft_cap); None: they stay as they are.
        pairs: of a query and a key, about as many as there are in a step; for estimates.
        read: keys, about as many as are read; for estimates.
        name: of the kernel in profiles.

    Returns:
        Weighted values; finite where a query sees nothing.
    """
    num_tokens, num_heads, head_dim = q.shape
    kernel = _Kernel(keys, tiling, head_dim, jnp.dtype(q.dtype), group, scale, soft_cap)
    mesh = plgpu.Mesh(
        grid=(num_heads // tiling.heads, num_tokens // tiling.tokens),
        grid_names=("heads", "tile"),
        num_threads=3,
        thread_name="warpgroup",
    )
    run: Any = pl.kernel(
        kernel.run,
        jax.ShapeDtypeStruct(q.shape, q.dtype),
        mesh=mesh,
        compiler_params=plgpu.CompilerParams(approx_math=True),
        cost_estimate=pl.CostEstimate(
            flops=4 * num_heads * pairs * head_dim,
            bytes_accessed=(2 * q.size + 2 * num_heads // group * head_dim * read) * q.dtype.itemsize,
            transcendentals=num_heads * pairs,
        ),
        name=name,
    )
    return run(q, tiles.intervals, tiles.spans, *keys.operands)


@dataclasses.dataclass
class _Shared:
    """Shared memory of a block of threads, and the barriers that guard it."""

    q: Any
    k: Any
    v: Any
    added: Any
    ends: Any
    q_ready: Any
    k_ready: Any
    v_ready: Any
    k_free: Any
    v_free: Any
    turn: Any
    cleared: Any


@dataclasses.dataclass(frozen=True)
class _Kernel:
    keys: Keys
    tiling: Tiling
    head_dim: int
    dtype: Any
    group: int
    scale: float
    soft_cap: float | None

    @property
    def _swizzled(self) -> int:
        """Elements of a row of shared memory that are swizzled together."""
        return plgpu.find_swizzle(self.head_dim * jnp.finfo(self.dtype).bits) // self.dtype.itemsize

    @property
    def own(self) -> tuple[int, int]:
        """Heads and tokens of one warpgroup: it has half of the tile's heads, or of the tokens of a single head."""
        heads, tokens = self.tiling.heads, self.tiling.tokens
        return (heads // 2, tokens) if heads > 1 else (1, tokens // 2)

    def run(self, q_ref: Any, intervals_ref: Any, spans_ref: Any, *refs: Any) -> None:
        """One tile of queries, by all three warpgroups."""
        *key_refs, out_ref = refs

        def with_shared(**shared: Any) -> None:
            memory = _Shared(**{"added": None, "ends": None, "cleared": None, **shared})
            warpgroup, tile = lax.axis_index("warpgroup"), lax.axis_index("tile")
            first_head = lax.axis_index("heads") * self.tiling.heads
            spans = [spans_ref[tile, edge] for edge in range(4)]

            @pl.when(warpgroup < 2)
            def _() -> None:
                plgpu.set_max_registers(_COMPUTE_REGISTERS, action="increase")
                place = self._place(warpgroup, tile, first_head)
                self._load_queries(q_ref, memory, warpgroup, place)
                rows = pl.ds(warpgroup * WARPGROUP_ROWS, WARPGROUP_ROWS)
                edges = [_load(intervals_ref.at[tile, edge, rows], plgpu.Layout.WGMMA.reduce(1)) for edge in range(2)]
                plgpu.barrier_wait(memory.q_ready.at[warpgroup])
                self._store(self._softmax(memory, warpgroup, spans, edges), out_ref, memory, warpgroup, place)

            @pl.when(warpgroup == 2)
            def _() -> None:
                plgpu.set_max_registers(_MEMORY_REGISTERS, action="decrease")
                kv_head = lax.div(first_head, jnp.int32(self.group))
                first, stop = spans[0], spans[3]
                self.keys.deliver_all(tuple(key_refs), tile, kv_head, first, stop, partial(self._deliver, memory))

                # No barrier is left with an arrival that nobody has waited for.
                @pl.loop(jnp.maximum(stop - first - self.tiling.stages, 0), stop - first)
                def _(before: Any) -> None:
                    plgpu.barrier_wait(memory.k_free.at[self._slot(before)])
                    plgpu.barrier_wait(memory.v_free.at[self._slot(before)])

        pl.run_scoped(with_shared, **self._scratch(), collective_axes="warpgroup")

    def _scratch(self) -> dict[str, Any]:
        swizzle = self._swizzled * self.dtype.itemsize
        transforms = (plgpu.TilingTransform((8, self._swizzled)), plgpu.SwizzleTransform(swizzle))
        stages, keys = self.tiling.stages, self.tiling.keys
        block = plgpu.SMEM((stages, keys, self.head_dim), self.dtype, transforms=transforms)
        free = plgpu.Barrier(num_arrivals=2, num_barriers=stages)
        scratch = {
            "q": plgpu.SMEM((2, WARPGROUP_ROWS, self.head_dim), self.dtype, transforms=transforms),
            "k": block,
            "v": block,
            "q_ready": plgpu.Barrier(num_arrivals=self.own[0], num_barriers=2),
            "k_ready": plgpu.Barrier(num_arrivals=self.keys.key_copies, num_barriers=stages),
            "v_ready": plgpu.Barrier(num_arrivals=self.keys.value_copies, num_barriers=stages),
            "k_free": free,
            "v_free": free,
            "turn": plgpu.Barrier(num_arrivals=2),
        }
        if self.keys.adds:
            scratch["added"] = plgpu.SMEM((stages, keys), jnp.float32)
        if self.keys.stale_ends:
            scratch["ends"] = plgpu.SMEM((stages,), jnp.int32)
            scratch["cleared"] = plgpu.Barrier(num_arrivals=2)
        return scratch

    def _slot(self, before: Any) -> Any:
        return lax.rem(before, jnp.int32(self.tiling.stages))

    def _deliver(self, memory: _Shared, before: Any, keys: CopyKeys, values: CopyValues, end: Any = None) -> None:
        slot = self._slot(before)
        reused = before >= self.tiling.stages
        pl.when(reused)(lambda: plgpu.barrier_wait(memory.k_free.at[slot]))
        keys(memory.k.at[slot], memory.k_ready.at[slot], memory.added.at[slot] if self.keys.adds else None)
        pl.when(reused)(lambda: plgpu.barrier_wait(memory.v_free.at[slot]))
        if self.keys.stale_ends:
            memory.ends[slot] = end
        values(memory.v.at[slot], memory.v_ready.at[slot])

    def _place(self, warpgroup: Any, tile: Any, first_head: Any) -> tuple[Any, Any]:
        """The first head and the first token of a warpgroup; its rows are its tokens, head after head."""
        heads, tokens = self.own
        token = tile * self.tiling.tokens
        if self.tiling.heads > 1:
            return first_head + warpgroup * heads, token
        return first_head, token + warpgroup * tokens

    def _load_queries(self, q_ref: Any, memory: _Shared, warpgroup: Any, place: tuple[Any, Any]) -> None:
        heads, tokens = self.own
        for head in range(heads):
            source = q_ref.at[pl.ds(place[1], tokens), place[0] + head]
            rows = memory.q.at[warpgroup, pl.ds(head * tokens, tokens)]
            plgpu.copy_gmem_to_smem(source, rows, memory.q_ready.at[warpgroup])

    def _softmax(self, memory: _Shared, warpgroup: Any, spans: list[Any], edges: list[Any]) -> Any:
        """The softmax-weighted values of a warpgroup's rows, float32."""
        of_rows = partial(plgpu.layout_cast, new_layout=plgpu.Layout.WGMMA.reduce(1))
        weighted = jnp.zeros((WARPGROUP_ROWS, self.head_dim), jnp.float32)
        carry = (
            plgpu.layout_cast(weighted, plgpu.Layout.WGMMA),
            of_rows(jnp.full((WARPGROUP_ROWS,), _LEAST, jnp.float32)),
            of_rows(jnp.zeros((WARPGROUP_ROWS,), jnp.float32)),
        )
        first, whole, whole_stop, stop = spans
        masked = partial(self._add_block, memory, warpgroup, first, edges)
        unmasked = partial(self._add_block, memory, warpgroup, first, None)
        # The first warpgroup begins; the second one's first turn is its answer.
        pl.when(warpgroup == 1)(lambda: _take_turn(memory.turn))
        carry = lax.fori_loop(first, whole, masked, carry)
        carry = lax.fori_loop(whole, whole_stop, unmasked, carry)
        weighted, _, total = lax.fori_loop(whole_stop, stop, masked, carry)
        pl.when(warpgroup == 0)(lambda: _take_turn(memory.turn))
        return weighted / _along_rows(jnp.maximum(total, 1e-30), weighted.shape)

    def _add_block(
        self, memory: _Shared, warpgroup: Any, first: Any, edges: list[Any] | None, number: Any, carry: Any
    ) -> Any:
        """Takes a block of keys into the running softmax; `edges` are the rows' intervals, None: all see all of it."""
        weighted, maximum, total = carry
        slot = self._slot(number - first)
        plgpu.barrier_wait(memory.k_ready.at[slot])

        def multiply_keys(scores_ref: Any) -> Any:
            plgpu.wgmma(scores_ref, memory.q.at[warpgroup], memory.k.at[slot].transpose((1, 0)))
            _take_turn(memory.turn)
            return scores_ref[...]

        shape = (WARPGROUP_ROWS, self.tiling.keys)
        scores = pl.run_scoped(multiply_keys, plgpu.WGMMAAccumulatorRef(shape, jnp.float32))
        added = None
        if self.keys.adds:
            added = _load(memory.added.at[slot], plgpu.Layout.WGMMA.reduce(0))
        plgpu.barrier_arrive(memory.k_free.at[slot])
        scores = self._cap(scores)
        if added is not None:
            scores = scores + lax.broadcast_in_dim(added, shape, [1])
        if edges is not None:
            scores = _mask(scores, [edge - number * self.tiling.keys for edge in edges])

        # Exponents of two, so that scaling and subtracting are one instruction.
        exponent = _LOG2_E * (self.scale if self.soft_cap is None else 1.0)
        highest = jnp.maximum(maximum, scores.max(axis=1) * exponent)
        shrink = jnp.exp2(maximum - highest)
        weights = jnp.exp2(scores * exponent - _along_rows(highest, shape))
        total = total * shrink + weights.sum(axis=1)
        weighted = weighted * _along_rows(shrink, weighted.shape)
        rounded = weights.astype(self.dtype)
        # Nothing of the softmax is left for the other warpgroup's turn.
        weighted, total, highest, rounded = lax.optimization_barrier((weighted, total, highest, rounded))
        plgpu.barrier_arrive(memory.turn)
        plgpu.barrier_wait(memory.v_ready.at[slot])
        if edges is not None and self.keys.stale_ends:
            self._clear_end(memory, warpgroup, slot, memory.ends[slot] - number * self.tiling.keys)
        plgpu.barrier_wait(memory.turn)
        weighted = pl.run_state(lambda ref: plgpu.wgmma(ref, rounded, memory.v.at[slot]))(
            plgpu.WGMMAAccumulatorRef.init(weighted)
        )
        plgpu.barrier_arrive(memory.v_free.at[slot])
        return weighted, highest, total

    def _cap(self, scores: Any) -> Any:
        """Scaled and capped scores; without a cap, the scale is left to the exponential."""
        if self.soft_cap is None:
            return scores
        # tanh(x) = 1 - 2 / (exp(2 x) + 1): the hardware's own tanh has 11 bits only.
        power = jnp.exp2(scores * (2 * _LOG2_E * self.scale / self.soft_cap))
        return self.soft_cap - (2 * self.soft_cap) / (power + 1.0)

    def _clear_end(self, memory: _Shared, warpgroup: Any, slot: Any, left: Any) -> None:
        """Zeros for the values from row `left` on: a weight of zero times NaN would be NaN."""

        @pl.when(left < self.tiling.keys)
        def _() -> None:
            for index, start in enumerate(range(0, self.tiling.keys, WARPGROUP_ROWS)):
                pl.when(warpgroup == index % 2)(partial(self._clear_rows, memory, slot, start, left))
            plgpu.commit_smem()
            # Both arrive, so that neither is a block ahead.
            plgpu.barrier_arrive(memory.cleared)
            plgpu.barrier_wait(memory.cleared)

    def _clear_rows(self, memory: _Shared, slot: Any, start: int, left: Any) -> None:
        # A few columns at a time, because registers are scarce here.
        for column in range(0, self.head_dim, self._swizzled):
            part = memory.v.at[slot, pl.ds(start, WARPGROUP_ROWS), pl.ds(column, self._swizzled)]
            values = _load(part, plgpu.Layout.WGMMA)
            row = plgpu.broadcasted_iota(jnp.int32, values.shape, 0, layout=plgpu.Layout.WGMMA)
            part[...] = jnp.where(row + start < left, values, jnp.zeros((), self.dtype))

    def _store(self, weighted: Any, out_ref: Any, memory: _Shared, warpgroup: Any, place: tuple[Any, Any]) -> None:
        heads, tokens = self.own
        memory.q[warpgroup] = weighted.astype(self.dtype)
        plgpu.commit_smem()
        for head in range(heads):
            rows = memory.q.at[warpgroup, pl.ds(head * tokens, tokens)]
            plgpu.copy_smem_to_gmem(rows, out_ref.at[pl.ds(place[1], tokens), place[0] + head])
        plgpu.wait_smem_to_gmem(0)


def _load(ref: Any, layout: Any) -> Any:
    # Until jax 0.12 an index is required.
    index = ((),) if "idx" in inspect.signature(plgpu.load).parameters else ()
    return plgpu.load(ref, *index, layout=layout, optimized=False)


def _mask(scores: Any, edges: list[Any]) -> Any:
    """Scores of the columns in each row's interval."""
    column = plgpu.broadcasted_iota(jnp.int32, scores.shape, 1, layout=plgpu.Layout.WGMMA)
    first, end = (_along_rows(edge, scores.shape) for edge in edges)
    return jnp.where((column >= first) & (column < end), scores, _UNSEEN)


def _along_rows(x: Any, shape: tuple[int, ...]) -> Any:
    return lax.broadcast_in_dim(x, shape, [0])


def _take_turn(barrier: Any) -> None:
    plgpu.barrier_arrive(barrier)
    plgpu.barrier_wait(barrier)

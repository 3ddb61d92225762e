"""varlen_attention in bfloat16 and float16: every implementation that can, against the float32 reference."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from kernels_pallas.varlen_attention import RowGroup, varlen_attention
from tests.kernels.mosaic_gpu_interpreter import where_it_runs
from tests.kernels.test_varlen_attention import IMPLEMENTATIONS, Implementation, make


@dataclasses.dataclass(frozen=True)
class Narrow:
    """A call in 16 bits."""

    rows: str | tuple[tuple[RowGroup, ...], list[list[int]]] = "groups"
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 64
    causal: bool = True
    window: int | None = None
    traced: bool = False
    soft_cap: float | None = None
    hidden: bool = False
    dtype: Any = jnp.bfloat16

    def fits(self, implementation: Implementation) -> bool:
        """Whether the implementation says that it can."""
        return (
            (implementation.traced_window or not self.traced)
            and (implementation.odd_head_dims or self.head_dim % 32 == 0)
            and (implementation.capped_or_hidden or not (self.soft_cap or self.hidden))
            and (implementation.float16 or self.dtype != jnp.float16)
        )


# Blocks of keys that are seen whole, by some or by none.
SEVERAL_BLOCKS = (((1, 702),), [[300, 401]])
NARROW = {
    "causal": Narrow(),
    "bidirectional, multi-head": Narrow(causal=False, kv_heads=4),
    "window": Narrow(causal=False, window=3),
    "traced window, multi-query, odd heads": Narrow(heads=5, kv_heads=1, head_dim=33, window=3, traced=True),
    "several blocks": Narrow(SEVERAL_BLOCKS, heads=1, kv_heads=1, causal=False),
    "several blocks, causal, window": Narrow(SEVERAL_BLOCKS, heads=1, kv_heads=1, window=200, head_dim=128),
    "soft cap": Narrow(soft_cap=1.0, heads=2, kv_heads=1),
    "hidden keys": Narrow(causal=False, hidden=True, heads=2),
    "heads of 256, groups of 16": Narrow(heads=16, kv_heads=1, head_dim=256),
    "float16, heads of 16": Narrow(dtype=jnp.float16, head_dim=16),
}
NARROW_CALLS = [(i.name, name) for i in IMPLEMENTATIONS for name, spec in NARROW.items() if spec.fits(i)]


@pytest.mark.parametrize(("implementation", "name"), NARROW_CALLS)
def test_16_bits_are_close_to_the_float32_reference(implementation: Any, name: str) -> None:
    spec = NARROW[name]
    case = make(spec.rows, heads=spec.heads, kv_heads=spec.kv_heads, head_dim=spec.head_dim, dtype=spec.dtype)
    exact = [x.astype(jnp.float32) for x in (case.q, case.k, case.v)]
    # Nobody sees a sequence's first token, if it has others.
    segments = np.asarray(case.segments)
    hidden = (segments != np.roll(segments, 1)) & (segments == np.roll(segments, -1))
    options: Any = {"row_groups": case.row_groups, "scale": spec.head_dim**-0.5, "soft_cap": spec.soft_cap}
    options |= {"causal": spec.causal, "key_segment_ids": jnp.where(hidden, -2, segments) if spec.hidden else None}
    expected = varlen_attention(*exact, case.segments, window=spec.window, implementation="reference", **options)
    window = jnp.int32(spec.window) if spec.traced else spec.window
    with where_it_runs(implementation):
        ours = varlen_attention(
            case.q, case.k, case.v, case.segments, window=window, implementation=implementation, **options
        )
        assert ours.dtype == spec.dtype
        ours = np.asarray(ours, np.float32)
    np.testing.assert_allclose(ours[case.real], np.asarray(expected)[case.real], atol=2e-2, rtol=0)
    assert np.isfinite(ours).all()

"""Which blocks of keys a tile of queries visits, computed by XLA before the kernel runs.

Every mask that the ops know (a sequence, causality, a window) is an interval of keys for each query. So the kernel
knows intervals only: blocks outside all of a tile's are skipped, and those inside all of them are not masked.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

# Rows of a tile: 64 for each of two warpgroups, which is what one of their instructions multiplies.
WARPGROUP_ROWS = 64
ROWS = 2 * WARPGROUP_ROWS
_FAR = jnp.iinfo(jnp.int32).max


@dataclasses.dataclass(frozen=True)
class Limits:
    """What is best on a device (`blocks/gpu.json` of each op); shapes and shared memory may allow less.

    Attributes:
        heads: most query heads of a tile.
        keys: keys of a block.
        wide_keys: the same where heads are wider than 128.
        stages: most blocks in shared memory.
    """

    heads: int
    keys: int
    wide_keys: int
    stages: int


@dataclasses.dataclass(frozen=True)
class Tiling:
    """Sizes of a kernel's work.

    Attributes:
        heads: query heads of a tile, a power of two; they share their keys, and each has its own rows.
        keys: keys that are multiplied at once.
        stages: blocks of keys in shared memory, most of them on their way.
    """

    heads: int
    keys: int
    stages: int

    @property
    def tokens(self) -> int:
        """Tokens of a tile."""
        return ROWS // self.heads


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Tiles:
    """What a kernel reads of its tiles.

    Attributes:
        intervals: the first key that each row sees, and that after its last.
        spans: the first block of keys, the first and the end of those that all rows see whole, the end of all.
    """

    intervals: Int[Array, "tiles 2 rows"]
    spans: Int[Array, "tiles 4"]


def make_tiles(first: Int[Array, " T"], end: Int[Array, " T"], tiling: Tiling, *, whole: bool = True) -> Tiles:
    """Tiles of queries that see the keys [first, end), none where that is empty.

    Args:
        first: of each query; T is whole tiles.
        end: of each query.
        tiling: sizes.
        whole: whether blocks inside every query's interval are seen whole.
    """
    firsts, ends = (x.reshape(-1, tiling.tokens) for x in (first, end))
    sees = ends > firsts
    stop = -(-jnp.where(sees, ends, 0).max(axis=1) // tiling.keys)
    start = jnp.minimum(jnp.where(sees, firsts, _FAR).min(axis=1) // tiling.keys, stop)
    whole_start = jnp.clip(-(-jnp.where(sees, firsts, 0).max(axis=1) // tiling.keys), start, stop)
    whole_stop = jnp.clip(jnp.where(sees, ends, _FAR).min(axis=1) // tiling.keys, whole_start, stop)
    spans = (start, whole_start, whole_stop, stop) if whole else (start, stop, stop, stop)
    token_of_row = jnp.arange(ROWS) % tiling.tokens
    intervals = jnp.stack([firsts[:, token_of_row], ends[:, token_of_row]], axis=1)
    return Tiles(intervals.astype(jnp.int32), jnp.stack(spans, axis=1).astype(jnp.int32))

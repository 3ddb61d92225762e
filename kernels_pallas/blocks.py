"""Block sizes of a kernel, from JSON beside it: a default, and what differs on a device."""

import functools
import json
from importlib.resources import files

import jax.numpy as jnp
from jax.typing import DTypeLike

# Of a TPU's registers.
LANES = 128


@functools.cache
def block_sizes(op: str, name: str, device_kind: str) -> dict[str, int]:
    """The sizes in kernels_pallas/`op`/blocks/`name`.json.

    Args:
        op: folder of the op.
        name: of the back end, "tpu" or "gpu".
        device_kind: what the vendor calls the chip; one that the file does not name gets the default. "cpu" is where
            kernels are interpreted: small blocks, so that small inputs have several.
    """
    table = json.loads((files("kernels_pallas") / op / "blocks" / f"{name}.json").read_text())
    return {**table["default"], **table.get(device_kind, {})}


def largest_power_of_two(multiple: int, limit: int) -> int:
    """The largest power of two that divides `multiple` and is at most `limit`."""
    return min(multiple & -multiple, 1 << (max(limit, 1).bit_length() - 1))


def attention_bytes(rows: int, keys: int, heads: int, queries: int, head_dim: int, dtype: DTypeLike) -> int:
    """Fast memory of a TPU that one step of an attention kernel takes: what its blocks are chosen by.

    Args:
        rows: query rows of each key head.
        keys: of each key head.
        heads: key heads in the step.
        queries: tokens among the rows.
        head_dim: of all of them.
        dtype: of queries, keys and values.
    """
    lanes = -(-head_dim // LANES) * LANES
    size = jnp.dtype(dtype).itemsize
    # Twice, because the next ones are on their way; rows in and out, keys and values.
    moving = 2 * heads * 2 * (rows + keys) * lanes * size
    state = heads * rows * (2 * LANES + lanes) * 4
    # Float32 scores, their exponentials, those in `dtype`, and a mask; in float32 the operands are also split.
    scores = rows * keys * (8 + size) + queries * keys * 8
    split = 3 * (rows + keys) * lanes * 4 + 3 * rows * keys * 4 if size == 4 else 0
    return moving + state + scores + split

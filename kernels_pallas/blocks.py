"""Block sizes of a kernel, from JSON beside it: a default, and what differs on a device."""

import functools
import json
from importlib.resources import files


@functools.cache
def block_sizes(op: str, name: str, device_kind: str) -> dict[str, int]:
    """The sizes in kernels_pallas/`op`/blocks/`name`.json.

    Args:
        op: folder of the op.
        name: of the back end, "tpu" or "gpu".
        device_kind: what the vendor calls the chip; one that the file does not name gets the default.
    """
    table = json.loads((files("kernels_pallas") / op / "blocks" / f"{name}.json").read_text())
    return {**table["default"], **table.get(device_kind, {})}


def largest_power_of_two(multiple: int, limit: int) -> int:
    """The largest power of two that divides `multiple` and is at most `limit`."""
    return min(multiple & -multiple, 1 << (max(limit, 1).bit_length() - 1))

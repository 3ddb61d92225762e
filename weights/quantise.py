"""From float weights to int8: symmetric, one scale for each output channel."""

import numpy as np
from jaxtyping import Float32, Int8, Shaped

_LARGEST = np.float32(127)
_AT_ONCE = 1 << 16  # values: few enough for their float32 copy to stay in the cache
# Rows of zeros, or of values that nothing would be left of, get this scale; they become zeros.
_LEAST_SCALE = np.finfo(np.float32).tiny


def quantise(
    values: Shaped[np.ndarray, "out in"], weight: Int8[np.ndarray, "out in"], scale: Float32[np.ndarray, " out"]
) -> None:
    """Writes float `values` as weight * scale[:, None]: `weight` from -127 to 127, the largest of each row at an end.

    No value moves by more than half its row's scale. A row with a value that is not finite, or too large for float32,
    gets a scale that is not finite.
    """
    rows = max(1, _AT_ONCE // max(1, values.shape[1]))
    for start in range(0, len(values), rows):
        part = values[start : start + rows].astype(np.float32)
        largest = np.maximum(part.max(axis=1, initial=0), -part.min(axis=1, initial=0))
        scales = np.maximum(largest / _LARGEST, _LEAST_SCALE)
        part /= scales[:, None]
        weight[start : start + rows] = np.rint(part, out=part)
        scale[start : start + rows] = scales

"""What a linear layer multiplies by."""

from typing import NamedTuple

from jaxtyping import Array, Float, Num


class Matrix(NamedTuple):
    """W and b of a linear layer.

    Attributes:
        weight: W; or int8, and then W = weight * scale of each row.
        scale: of each row of an int8 weight, float32.
        bias: b.
    """

    weight: Num[Array, "out in"]
    scale: Float[Array, " out"] | None = None
    bias: Float[Array, " out"] | None = None

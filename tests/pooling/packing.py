"""Packed batches made by hand, without the engine."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from jaxcls.layers.packed import PackedBatch


@dataclasses.dataclass(frozen=True)
class Sequence:
    """One text: where it lies in the stream, its tokens, and whether it wants the activation."""

    start: int
    ids: tuple[int, ...]
    use_activation: bool = True

    @property
    def part(self) -> slice:
        """Its place in the stream."""
        return slice(self.start, self.start + len(self.ids))


def pack(sequences: list[Sequence], *, rows: int, row_len: int, slots: int) -> PackedBatch:
    """A batch whose padding holds ids that would be noticed if they were read."""
    total = rows * row_len
    arrays = {
        "input_ids": np.full(total, 77, np.int32),
        "token_type_ids": np.zeros(total, np.int32),
        "positions": np.zeros(total, np.int32),
        "segment_ids": np.full(total, -1, np.int32),
        "starts": np.zeros(slots, np.int32),
        "lengths": np.zeros(slots, np.int32),
        "use_activation": np.ones(slots, bool),
    }
    for index, sequence in enumerate(sequences):
        assert sequence.part.start // row_len == (sequence.part.stop - 1) // row_len
        assert (arrays["segment_ids"][sequence.part] == -1).all()
        arrays["input_ids"][sequence.part] = sequence.ids
        arrays["positions"][sequence.part] = np.arange(len(sequence.ids))
        arrays["segment_ids"][sequence.part] = index
        arrays["starts"][index], arrays["lengths"][index] = sequence.start, len(sequence.ids)
        arrays["use_activation"][index] = sequence.use_activation
    return PackedBatch(**{k: jnp.asarray(v) for k, v in arrays.items()}, row_groups=((rows, row_len),))

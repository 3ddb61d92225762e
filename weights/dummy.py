"""Random tensors that depend on nothing but their arguments, for tests, benchmarks and runs without a checkpoint."""

from collections.abc import Mapping
from hashlib import blake2b
from math import prod, sqrt

import numpy as np
from jaxtyping import Float32

_CHUNK = 1 << 14  # samples a turn: the temporaries stay in the cache
_SUM_MEAN = 131_070.0  # of four uniform 16-bit integers
_SUM_STD = sqrt((65_536**2 - 1) / 3)


def unit_normal(seed: int, name: str, shape: tuple[int, ...]) -> Float32[np.ndarray, "..."]:
    """Nearly normal values, mean 0, standard deviation 1, a pure function of the arguments.

    Every value is the sum of four uniform 16-bit integers, so it is bounded by 3.47. Numpy promises the raw stream of
    PCG64 and its seeding for ever, which it does not for its normal distribution, and the rest is integer arithmetic
    and two float32 operations: equal on every machine and numpy version, and twice as fast (1 GB a second).
    """
    digest = blake2b(repr((seed, name, tuple(map(int, shape)))).encode(), digest_size=16).digest()
    generator = np.random.PCG64(int.from_bytes(digest, "little"))
    out = np.empty(prod(shape), np.float32)
    total = np.empty(_CHUNK, np.uint32)
    for start in range(0, out.size, _CHUNK):
        part = out[start : start + _CHUNK]
        raw = generator.random_raw(part.size).astype("<u8", copy=False).view("<u2")
        np.add(raw[0::4], raw[1::4], out=total[: part.size], dtype=np.uint32)
        total[: part.size] += raw[2::4]
        total[: part.size] += raw[3::4]
        part[...] = total[: part.size]
    out -= np.float32(_SUM_MEAN)
    out *= np.float32(1 / _SUM_STD)
    return out.reshape(shape)


def random_tensor(seed: int, name: str, shape: tuple[int, ...]) -> Float32[np.ndarray, "..."]:
    """A plausible weight: `unit_normal` at the scale that keeps the activations of a model of order 1.

    Vectors: biases 0.1 n, everything else (the weights of norms) 1 + 0.1 n. Embedding tables n. Other matrices
    n / sqrt(shape[-1]), convolutions n / sqrt(the product of all but the first axis).
    """
    values = unit_normal(seed, name, shape)
    scale, offset = _scale(name, shape)
    values *= np.float32(scale)
    values += np.float32(offset)
    return values


def _scale(name: str, shape: tuple[int, ...]) -> tuple[float, float]:
    words = name.lower()
    if len(shape) < 2:
        return (0.1, 0.0) if words.endswith(("bias", "beta")) else (0.1, 1.0)
    if "embed" in words or words.endswith(("wte.weight", "wpe.weight")):
        return 1.0, 0.0
    fan_in = prod(shape[1:]) if len(shape) > 3 else shape[-1]
    return 1 / sqrt(max(fan_in, 1)), 0.0


class DummySource:
    """A source of random float32 tensors: `random_tensor(seed, name, shape)` for every name in `shapes`."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], seed: int = 0) -> None:
        """Holds the shapes; values are made when read."""
        self._shapes = dict(shapes)
        self._seed = seed

    def names(self) -> list[str]:
        """All tensor names."""
        return list(self._shapes)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor."""
        return self._shapes[name]

    def dtype(self, name: str) -> np.dtype:
        """float32, whatever the name."""
        del name
        return np.dtype(np.float32)

    def read(self, name: str) -> Float32[np.ndarray, "..."]:
        """One tensor, made afresh."""
        return random_tensor(self._seed, name, self._shapes[name])

    def release(self, name: str) -> None:
        """Nothing is held."""

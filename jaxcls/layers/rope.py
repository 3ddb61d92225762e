"""Rotary position embeddings, every scaling that transformers' `rope_parameters` knows for text decoders, and mGTE's.

Formulas follow transformers' modeling_rope_utils (v5). Frequencies are numpy float32, made once per model.
"""

import dataclasses
import math
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

RopeType = Literal["default", "linear", "dynamic", "llama3", "yarn", "longrope", "proportional", "ntk"]


@dataclasses.dataclass(frozen=True)
class RopeConfig:
    """Rotary settings of one model; the fields after `factor` belong to the types named beside them."""

    head_dim: int  # the part of a head that is rotated, most often all of it
    theta: float
    rope_type: RopeType = "default"
    factor: float = 1.0
    original_max_len: int = 0  # dynamic, llama3, yarn, longrope: the length the model was first trained for
    low_freq_factor: float = 1.0  # llama3
    high_freq_factor: float = 4.0  # llama3
    beta_fast: float = 32.0  # yarn
    beta_slow: float = 1.0  # yarn
    attention_factor: float = 1.0  # yarn, longrope: multiplies cos and sin
    truncate: bool = True  # yarn
    mixed_b: float | None = None  # ntk: the exponent of mixed scaling, None for fixed
    short_factors: tuple[float, ...] = ()  # longrope: one a frequency, for sequences up to original_max_len
    long_factors: tuple[float, ...] = ()  # longrope: for longer ones
    fraction: float = 1.0  # proportional: of the frequencies that turn

    @property
    def depends_on_length(self) -> bool:
        """Whether a token's rotation depends on how long its sequence is."""
        return self.rope_type in ("dynamic", "longrope")

    def longest(self, trained_len: int) -> int:
        """Longest sequence of a model made for `trained_len` tokens: "dynamic" scaling is there to go beyond them."""
        return int(trained_len * self.factor) if self.rope_type == "dynamic" else trained_len


def inverse_frequencies(rope: RopeConfig) -> np.ndarray:
    """Static inverse frequencies [H/2], float32; of "longrope" those of short sequences."""
    inv_freq = _plain(rope.head_dim, rope.theta)
    match rope.rope_type:
        case "linear":
            inv_freq = inv_freq / np.float32(rope.factor)
        case "llama3":
            inv_freq = _llama3(inv_freq, rope)
        case "yarn":
            inv_freq = _yarn(inv_freq, rope)
        case "ntk":
            inv_freq = _ntk(inv_freq, rope)
        case "longrope":
            inv_freq = inv_freq / np.array(rope.short_factors, np.float32)
        case "proportional":
            turning = np.arange(len(inv_freq)) < int(rope.fraction * rope.head_dim // 2)
            inv_freq = np.where(turning, inv_freq, 0) / np.float32(rope.factor)
        case "default" | "dynamic":
            pass
    return inv_freq.astype(np.float32)


def _plain(head_dim: int, theta: float) -> np.ndarray:
    exponents = np.arange(0, head_dim, 2, dtype=np.float32) / head_dim
    return (1.0 / np.float32(theta) ** exponents).astype(np.float32)


def _llama3(inv_freq: np.ndarray, rope: RopeConfig) -> np.ndarray:
    """Long wavelengths are stretched by `factor`, short ones kept, those between interpolated."""
    wavelength = 2 * math.pi / inv_freq
    smooth = (rope.original_max_len / wavelength - rope.low_freq_factor) / (
        rope.high_freq_factor - rope.low_freq_factor
    )
    between = (1 - smooth) * inv_freq / rope.factor + smooth * inv_freq
    stretched = np.where(wavelength > rope.original_max_len / rope.low_freq_factor, inv_freq / rope.factor, between)
    return np.where(wavelength < rope.original_max_len / rope.high_freq_factor, inv_freq, stretched)


def _yarn(inv_freq: np.ndarray, rope: RopeConfig) -> np.ndarray:
    """YaRN (arXiv:2309.00071): interpolation for slow dimensions, extrapolation for fast ones, a ramp between."""

    def dimension(rotations: float) -> float:
        turns = rope.original_max_len / (rotations * 2 * math.pi)
        return rope.head_dim * math.log(turns) / (2 * math.log(rope.theta))

    low, high = dimension(rope.beta_fast), dimension(rope.beta_slow)
    if rope.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, rope.head_dim - 1)
    if low == high:
        high += 0.001
    ramp = np.clip((np.arange(rope.head_dim // 2, dtype=np.float32) - low) / (high - low), 0, 1)
    return inv_freq / rope.factor * ramp + inv_freq * (1 - ramp)


def _ntk(inv_freq: np.ndarray, rope: RopeConfig) -> np.ndarray:
    """NTK scaling, fixed or mixed (https://kexue.fm/archives/9706, equations 6 and 10 to 13); all lengths alike.

    Fixed: theta grows by `factor`, and all frequencies fall by factor^(2 / H). Mixed: frequency i of 1..H/2 falls by
    factor^((i / (H/2))^mixed_b).
    """
    if rope.factor <= 1:
        return inv_freq
    half = rope.head_dim // 2
    if rope.mixed_b is None:
        return _plain(rope.head_dim, rope.theta * rope.factor) / np.float32(rope.factor ** (1 / half))
    steps = np.arange(1, half + 1, dtype=np.float32)
    return inv_freq / np.exp(np.float32(math.log(rope.factor) / half**rope.mixed_b) * steps ** np.float32(rope.mixed_b))


def cos_sin(
    rope: RopeConfig, positions: Int[Array, " T"], lengths: Int[Array, " T"]
) -> tuple[Float[Array, "T half"], Float[Array, "T half"]]:
    """Cosines and sines of every token's rotation, float32.

    Args:
        rope: the model's settings.
        positions: 0-based position of the token in its sequence.
        lengths: length of the token's sequence; only "dynamic" and "longrope" look at it. Each sequence is scaled by
            its own length (transformers uses the longest of the batch), so that a score does not depend on the batch.
    """
    match rope.rope_type:
        case "dynamic":
            inv_freq = _dynamic(rope, lengths)
        case "longrope":
            plain = inverse_frequencies(dataclasses.replace(rope, rope_type="default"))
            short, long = (plain / np.array(f, np.float32) for f in (rope.short_factors, rope.long_factors))
            inv_freq = jnp.where((lengths > rope.original_max_len)[:, None], long, short)
        case _:
            inv_freq = jnp.asarray(inverse_frequencies(rope))[None, :]
    angles = positions.astype(jnp.float32)[:, None] * inv_freq
    return jnp.cos(angles) * rope.attention_factor, jnp.sin(angles) * rope.attention_factor


def _dynamic(rope: RopeConfig, lengths: Int[Array, " T"]) -> Float[Array, "T half"]:
    """Dynamic NTK: the base grows with the sequence's length."""
    ratio = jnp.maximum(lengths, rope.original_max_len).astype(jnp.float32) / rope.original_max_len
    stretch = rope.factor * ratio - (rope.factor - 1)
    base = rope.theta * stretch ** (rope.head_dim / (rope.head_dim - 2))
    exponents = jnp.arange(0, rope.head_dim, 2, dtype=jnp.float32) / rope.head_dim
    return 1.0 / base[:, None] ** exponents[None, :]

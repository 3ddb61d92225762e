"""The op in plain XLA, for every backend."""

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float


def rotate(
    x: Float[Array, "T N H"], cos: Float[Array, "T half"], sin: Float[Array, "T half"], *, out_dtype: DTypeLike
) -> Float[Array, "T N H"]:
    """See `kernels_pallas.rotate.api.rotate`."""
    half = cos.shape[-1]
    x = x.astype(jnp.float32)
    first, second, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    cos, sin = cos[:, None, :], sin[:, None, :]
    turned = [first * cos - second * sin, second * cos + first * sin, rest]
    return jnp.concatenate(turned, axis=-1).astype(out_dtype)

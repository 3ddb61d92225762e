"""One scatter, in place where the pages are donated."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def write_pages(
    kv_pages: Float[Array, "P B twoK H"],
    k: Float[Array, "T K H"],
    v: Float[Array, "T K H"],
    slots: Int[Array, " T"],
) -> Float[Array, "P B twoK H"]:
    """See `kernels_pallas.write_pages.api.write_pages`."""
    kv = jnp.stack([k, v], axis=2).reshape(len(k), *kv_pages.shape[2:]).astype(kv_pages.dtype)
    flat = kv_pages.reshape(-1, *kv_pages.shape[2:])
    return flat.at[slots].set(kv, mode="drop", unique_indices=True).reshape(kv_pages.shape)

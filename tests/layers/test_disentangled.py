"""Relative positions: which row belongs to a distance, and products by distance against a gather."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxcls.layers.disentangled import RelativeConfig, RelativePositions, by_distance


def test_distances_without_buckets_have_rows_of_their_own() -> None:
    rows = RelativeConfig(("c2p",), 3).rows(np.arange(-5, 6))
    assert rows.tolist() == [0, 0, 0, 1, 2, 3, 4, 5, 5, 5, 5]


def test_far_distances_share_rows() -> None:
    """As DeBERTa v3 has them: 128 distances alone, up to 511 by logarithm, all others the last."""
    cfg = RelativeConfig(("c2p", "p2c"), 512, 256)
    near = np.arange(-128, 129)
    assert (cfg.rows(near) == near + 256).all()
    assert cfg.rows(np.array([129, 130, 131, 255, 256, 511, 512, 9999])).tolist() == [
        385,
        386,
        387,
        448,
        448,
        511,
        511,
        511,
    ]
    assert (cfg.rows(-np.arange(1, 600))[:511] + cfg.rows(np.arange(1, 600))[:511] == 512).all()


@pytest.mark.parametrize("row_len", [1, 2, 7, 16])
def test_products_by_distance(row_len: int) -> None:
    table = RelativePositions(
        RelativeConfig(("c2p", "p2c"), 6, 4), 10, norm_eps=None, dtype=jnp.float32, rngs=nnx.Rngs(0)
    )
    relative = table(row_len)
    x = jax.random.normal(jax.random.key(1), (3, row_len, 2, 5))
    distances = np.arange(row_len)[:, None] - np.arange(row_len)
    rows = table.cfg.rows(distances.ravel()).reshape(distances.shape)
    positions = table.weight[...].reshape(-1, 2, 5)[rows]
    wanted = jnp.einsum("xinh,ijnh->nxij", x, positions)
    heads = relative.x.reshape(-1, 2, 5)
    np.testing.assert_allclose(by_distance(x, heads[relative.c2p]), wanted, atol=1e-6)
    wanted = jnp.einsum("xjnh,ijnh->nxij", x, positions)
    np.testing.assert_allclose(by_distance(x, heads[relative.p2c]).swapaxes(2, 3), wanted, atol=1e-6)

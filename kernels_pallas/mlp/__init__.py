"""A feed-forward block: two linear layers, or three with a gate."""

from kernels_pallas.mlp.api import mlp
from kernels_pallas.mlp.matrix import Matrix

__all__ = ["Matrix", "mlp"]

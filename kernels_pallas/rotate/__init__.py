"""Rotary position embeddings, applied."""

from kernels_pallas.rotate.api import rotate

__all__ = ["rotate"]

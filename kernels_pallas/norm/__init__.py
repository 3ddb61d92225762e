"""Layer normalisation and root mean square normalisation."""

from kernels_pallas.norm.api import norm

__all__ = ["norm"]

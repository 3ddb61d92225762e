"""A linear layer with what follows it: bias, activation, residual."""

from kernels_pallas.linear.activations import ACTIVATIONS, Activation
from kernels_pallas.linear.api import linear

__all__ = ["ACTIVATIONS", "Activation", "linear"]

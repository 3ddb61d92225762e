"""Causal attention of new tokens over the pages of their sequences: paged prefill."""

from kernels_pallas.ragged_paged_attention.api import ragged_paged_attention

__all__ = ["ragged_paged_attention"]

"""Attention over packed sequences of different lengths, without a KV cache."""

from kernels_pallas.varlen_attention.api import RowGroup, exact_on_cpu, varlen_attention

__all__ = ["RowGroup", "exact_on_cpu", "varlen_attention"]

"""Kernels in C++ for x86-64 CPUs with AVX-512, called by XLA; the ops in kernels_pallas choose them by themselves.

Compiled when the package is built, where there is a C++ compiler. Without them the same ops run as XLA programs.
"""

from kernels_cpu.library import Library, library

__all__ = ["Library", "library"]

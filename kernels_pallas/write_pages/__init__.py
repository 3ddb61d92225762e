"""New keys and values into their pages, before attention reads them."""

from kernels_pallas.write_pages.api import write_pages

__all__ = ["write_pages"]

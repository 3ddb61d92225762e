"""The compiled library: found, checked against the running CPU, registered with XLA."""

import ctypes
import dataclasses
import functools
from pathlib import Path

import jax

_PATH = Path(__file__).parent / "_kernels.so"
_TARGETS = (
    "jaxcls_linear",
    "jaxcls_mlp",
    "jaxcls_attention",
    "jaxcls_paged_attention",
    "jaxcls_write_pages",
    "jaxcls_norm",
    "jaxcls_rotate",
)


@dataclasses.dataclass(frozen=True)
class Library:
    """What the kernels can do in this process.

    Attributes:
        dtypes: of products that the kernels compute; empty: there are no kernels. int8 weights come with bfloat16.
        reason: why a dtype is missing; empty if none is.
    """

    dtypes: frozenset[str]
    reason: str = ""


@functools.cache
def library() -> Library:
    """Loads the kernels on the first call. Never fails: without kernels everything runs as XLA programs."""
    if not _PATH.exists():
        return Library(frozenset(), "the package was built without a C++ compiler")
    try:
        kernels = ctypes.CDLL(str(_PATH))
    except OSError as error:
        return Library(frozenset(), f"{_PATH.name} does not load: {error}")
    level: int = kernels.jaxcls_cpu_level()
    if level == 0:
        return Library(frozenset(), "this CPU has no AVX-512")
    for target in _TARGETS:
        jax.ffi.register_ffi_target(target, jax.ffi.pycapsule(getattr(kernels, target)), platform="cpu")
    if level == 1:
        return Library(
            frozenset({"float32"}), "this CPU has no AVX512_BF16 and AVX512_VNNI: bfloat16 and int8 run as XLA programs"
        )
    return Library(frozenset({"float32", "bfloat16"}))

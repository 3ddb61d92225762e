"""Whether a program is traced for a GPU that has the kernels' instructions.

Which platform a program is lowered for is known late, and `jax.lax.platform_dependent` waits for it; which GPU has to
be known while tracing, because another one gets another program. With jax's public interface it is known from the
abstract mesh, where one is set: compilation ahead of time sets it to the machine that is not there, of which it has the
name and no more. Otherwise the program is for this process's devices, which tell their compute capability.
"""

import re

import jax

from kernels_pallas.blocks import block_sizes
from kernels_pallas.mosaic_gpu.tiles import Limits
from kernels_pallas.platform import device_kind, traced_for

# Multiplication by a warpgroup (wgmma) came with Hopper and left with it: Blackwell's instructions are others.
CAPABILITY = "9.0"
_HOPPER = re.compile(r"\b(H100|H200|H800|H20|GH200)\b")


def missing_instructions() -> str | None:
    """Why kernels of Hopper's instructions cannot run where this program is traced for; None if they can."""
    if traced_for() != "cuda":
        return f"the kernel needs a Hopper GPU, and this program is for {traced_for()}"
    if jax.sharding.get_abstract_mesh().abstract_device is not None:
        capable = _HOPPER.search(device_kind()) is not None
    else:
        capable = jax.devices()[0].compute_capability == CAPABILITY
    return None if capable else f"the kernel needs compute capability {CAPABILITY} (Hopper), not {device_kind()}"


def limits_of(op: str) -> Limits:
    """The block sizes of an op on the device that is traced for."""
    return Limits(**block_sizes(op, "gpu", device_kind()))

"""Whether a program is traced for a GPU that has the kernels' instructions.

Which platform a program is lowered for is known late, and `jax.lax.platform_dependent` waits for it; which GPU has to
be known while tracing, because another one gets another program. With jax's public interface it is known from the
abstract mesh, where one is set: compilation ahead of time sets it to the machine that is not there, of which it has the
name and no more. Otherwise the program is for this process's devices, which tell their compute capability.
"""

import re

import jax

# Multiplication by a warpgroup (wgmma) came with Hopper and left with it: Blackwell's instructions are others.
CAPABILITY = "9.0"
_HOPPER = re.compile(r"\b(H100|H200|H800|H20|GH200)\b")


def missing_instructions() -> str | None:
    """Why kernels of Hopper's instructions cannot run where this program is traced for; None if they can."""
    device = jax.sharding.get_abstract_mesh().abstract_device
    if device is None:
        device = jax.devices()[0]
        capability = getattr(device, "compute_capability", None)
    else:
        capability = CAPABILITY if _HOPPER.search(device.device_kind) else "another"
    if device.platform not in ("gpu", "cuda"):
        return f"it needs a Hopper GPU, and this program is for {device.platform}"
    if capability != CAPABILITY:
        return f"it needs compute capability {CAPABILITY} (Hopper), and {device.device_kind} has {capability}"
    return None

"""Which machine a program is traced for."""

import jax


def traced_for() -> str:
    """The platform of the program being traced: "cpu", "tpu", "cuda", "rocm".

    The abstract mesh's, where a program is compiled for a machine that is not there; else the default backend's.
    """
    device = jax.sharding.get_abstract_mesh().abstract_device
    if device is not None:
        return "cuda" if device.platform == "gpu" else device.platform
    backend = jax.default_backend()
    return "cuda" if backend == "gpu" else backend


def device_kind() -> str:
    """What the vendor calls the chip that is traced for: "TPU v5 lite", "NVIDIA H100 80GB HBM3"."""
    device = jax.sharding.get_abstract_mesh().abstract_device
    return jax.devices()[0].device_kind if device is None else device.device_kind

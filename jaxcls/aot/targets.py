"""The devices that programs are compiled for, with the real compilers, on machines that have none of them."""

import dataclasses
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from jaxcls.errors import ConfigError

# XLA's GpuTargetConfigProto of an H100 SXM.
_H100 = """gpu_device_info { threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152
  shared_memory_per_core: 233472 threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000 l2_cache_size: 52428800 clock_rate_ghz: 1.98 device_memory_size: 84942979072
  shared_memory_per_block_optin: 232448
  cuda_compute_capability { major: 9 minor: 0 feature_extension: ACCELERATED_FEATURES }
  registers_per_core_limit: 65536 registers_per_block_limit: 65536 }
platform_name: "CUDA"  dnn_version_info { major: 9 minor: 10 patch: 0 }  runtime_version { major: 13 minor: 0 }
device_description_str: "NVIDIA H100 80GB HBM3" """


@dataclasses.dataclass(frozen=True)
class Target:
    """One device, as its vendor describes it.

    Attributes:
        name: on the command line.
        platform: XLA's.
        topology: the default; of TPUs the chips of a slice, of GPUs hosts x GPUs.
        accelerator: what libtpu calls a host of such chips.
        flops: bfloat16 operations a second at most; None: not known.
        bandwidth: bytes a second between memory and chip; None: not known.
        memory: bytes a program can have; None: not known.
    """

    name: str
    platform: Literal["tpu", "cuda", "cpu"]
    topology: str = ""
    accelerator: str = ""
    flops: float | None = None
    bandwidth: float | None = None
    memory: int | None = None


# Peaks of one JAX device: a v5e or v6e chip, one of the two of a TPU7x chip, one H100 SXM (dense products).
# https://docs.cloud.google.com/tpu/docs/v5e, /v6e, /tpu7x; NVIDIA's H100 data sheet.
TARGETS = {
    target.name: target
    for target in (
        Target("v5e", "tpu", "1x1", "v5litepod-4", 197e12, 819e9, 16 * 10**9),
        Target("v6e", "tpu", "1x1", "v6e-4", 918e12, 1640e9, 32 * 10**9),
        Target("tpu7x", "tpu", "1x1x1", "tpu7x-4", 1153.5e12, 3690e9, 96 * 10**9),
        Target("h100", "cuda", "1x1x1", "", 989e12, 3352e9, 84_942_979_072),
        Target("cpu", "cpu"),
    )
}


def find_target(name: str) -> Target:
    """A target by its name.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in TARGETS:
        raise ConfigError(f"unknown target {name!r}; choose {', '.join(TARGETS)}")
    return TARGETS[name]


def missing(target: Target) -> str | None:
    """What has to be installed to compile for a target; None: nothing."""
    import importlib.util

    import jax

    if target.platform == "tpu" and importlib.util.find_spec("libtpu") is None:
        return f"the compiler for {target.name} is in libtpu: pip install libtpu (Linux on x86-64 and arm64)"
    if target.platform == "cuda":
        plugins = importlib.util.find_spec("jax_plugins")
        if plugins is None or importlib.util.find_spec("jax_plugins.xla_cuda13") is None:
            packages = f"jax-cuda13-plugin=={jax.__version__} jax-cuda13-pjrt=={jax.__version__}"
            return f"the compiler for {target.name} is in JAX's CUDA plugin: pip install {packages}"
        if _cuda_folder() is None:
            return f"the assembler for {target.name}, ptxas of CUDA 13, is not here: pip install nvidia-cuda-nvcc"
    return None


def _cuda_folder() -> Path | None:
    """The folder that holds bin/ptxas: pip's, else the one on the PATH."""
    import importlib.util

    spec = importlib.util.find_spec("nvidia")
    found = [Path(path) / "cu13" for path in (spec.submodule_search_locations if spec else None) or ()]
    on_path = shutil.which("ptxas")
    if on_path is not None:
        found.append(Path(on_path).resolve().parent.parent)
    return next((folder for folder in found if (folder / "bin" / "ptxas").exists()), None)


def prepare(target: Target) -> None:
    """Makes this process one that can compile for a target: before its first use of a device, and for good.

    Raises:
        ConfigError: what has to be installed.
    """
    import jax

    reason = missing(target)
    if reason is not None:
        raise ConfigError(reason)
    if target.platform == "tpu":
        # libtpu reads these when it is loaded; without them it asks the cloud what machine this is.
        os.environ |= {"TPU_SKIP_MDS_QUERY": "1", "TPU_WORKER_HOSTNAMES": "localhost", "TPU_WORKER_ID": "0"}
        os.environ["TPU_ACCELERATOR_TYPE"] = target.accelerator
        # It takes no chip, so other processes may have it loaded.
        os.environ["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"
    if target.platform == "cuda":
        # Autotuning would run the programs.
        flags = f"--xla_gpu_autotune_level=0 --xla_gpu_cuda_data_dir={_cuda_folder()}"
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}"
    jax.config.update("jax_platforms", "cpu")


def open_mesh(target: Target, topology: str | None = None) -> Any:
    """A mesh of one device of a target; None for "cpu", which is here.

    Args:
        target: what `prepare` has been called with.
        topology: the slice, as "2x2"; None: the smallest.

    Raises:
        ConfigError: a topology that there is not.
    """
    if target.platform == "cpu":
        if topology is not None:
            raise ConfigError("a topology is of accelerators; leave it out for target cpu")
        return None
    import jax
    import numpy as np
    from jax.experimental import topologies
    from jax.sharding import Mesh

    shape = topology or target.topology
    if target.platform == "cuda":
        described = {"topology_name": target.name, "topology": shape, "target_config": _H100}
    else:
        described = {"topology_name": f"{target.name}:{shape}"}
    try:
        found = topologies.get_topology_desc(platform=target.platform, **described)
    except (jax.errors.JaxRuntimeError, RuntimeError, ValueError) as error:
        raise ConfigError(f"topology {shape!r} of {target.name} cannot be compiled for: {error}") from None
    return Mesh(np.array(found.devices[:1]), ("x",))


def sharding_of(mesh: Any) -> Any:
    """Where the arrays of a mesh's one device lie; of None, those of the device that is here."""
    import jax

    if mesh is None:
        return jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())


@contextmanager
def traced_for(mesh: Any) -> Iterator[None]:
    """What is traced inside is for the mesh's device: its kernels, its layout, its shapes."""
    if mesh is None:
        yield
        return
    import jax

    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
        yield

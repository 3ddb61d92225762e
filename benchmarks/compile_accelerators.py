"""Compiles whole steps for TPUs and an H100 with their real compilers, on a machine that has neither.

    pip install libtpu jax-cuda13-plugin jax-cuda13-pjrt      # of jax's version; a CUDA 13 ptxas for the H100
    python -m benchmarks.compile_accelerators [--published] [--cuda-dir DIR] [--json FILE]

Prints what each program needs: that it compiles at all, its temporaries, and on TPU the compiler's own time estimate.
With --published, for one published checkpoint of each network in place of three models.
One process per target, because a process can only pose as one kind of machine.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

MODELS: dict[str, dict[str, Any]] = {
    "minilm": {
        "architectures": ["BertForSequenceClassification"], "model_type": "bert", "hidden_size": 384,
        "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536, "num_labels": 1,
    },
    "xlmr-base": {
        "architectures": ["XLMRobertaForSequenceClassification"], "model_type": "xlm-roberta", "vocab_size": 250002,
        "max_position_embeddings": 514, "type_vocab_size": 1, "num_labels": 1,
    },
    "qwen3-0.6b": {
        "architectures": ["Qwen3ForSequenceClassification"], "model_type": "qwen3", "hidden_size": 1024,
        "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8,
        "head_dim": 128, "max_position_embeddings": 40960, "rope_theta": 1e6, "num_labels": 1,
    },
}  # fmt: skip
TARGETS = {
    "tpu-v5e": {"platform": "tpu", "topology_name": "v5e:2x2", "accelerator": "v5litepod-4"},
    "tpu-v6e": {"platform": "tpu", "topology_name": "v6e:2x2", "accelerator": "v6e-4"},
    "h100": {"platform": "cuda", "topology_name": "h100", "accelerator": ""},
}
# XLA's GpuTargetConfigProto of an H100 SXM.
H100 = """gpu_device_info { threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152
  shared_memory_per_core: 233472 threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000 l2_cache_size: 52428800 clock_rate_ghz: 1.98 device_memory_size: 84942979072
  shared_memory_per_block_optin: 232448
  cuda_compute_capability { major: 9 minor: 0 feature_extension: ACCELERATED_FEATURES }
  registers_per_core_limit: 65536 registers_per_block_limit: 65536 }
platform_name: "CUDA"  dnn_version_info { major: 9 minor: 10 patch: 0 }  runtime_version { major: 13 minor: 0 }
device_description_str: "NVIDIA H100 80GB HBM3" """
Shape = tuple[int, int]
BUCKETS: tuple[Shape, ...] = ((64, 128), (16, 512))  # rows x row length


def published() -> dict[str, dict[str, Any]]:
    """A recorded config.json of each network, by its checkpoint; heads for tokens have no network of their own."""
    from jaxcls.registry import find_architecture
    from tests.published.store import all_published

    found: dict[Any, tuple[str, dict[str, Any]]] = {}
    for entry in all_published():
        name = entry.effective_config["architectures"][0]
        if "ForToken" not in name:
            found.setdefault(find_architecture(name).names, (entry.model, entry.effective_config))
    return dict(found.values())


def compile_all(target: str, models: dict[str, dict[str, Any]], buckets: tuple[Shape, ...]) -> list[dict[str, Any]]:
    """Compiles every model and bucket for one target; runs in a process of its own."""
    import jax
    import numpy as np
    from jax.experimental import topologies
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    spec = TARGETS[target]
    extra = {"topology": "1x1x1", "target_config": H100} if spec["platform"] == "cuda" else {}
    topology = topologies.get_topology_desc(platform=spec["platform"], topology_name=spec["topology_name"], **extra)
    mesh = Mesh(np.array(topology.devices[:1]), ("x",))
    sharding = NamedSharding(mesh, PartitionSpec())
    rows = []
    for name, values in models.items():
        for shape in buckets:
            print(f"{target}: {name}, {shape[0]} x {shape[1]}", file=sys.stderr, flush=True)
            step, state, batch = abstract_step(values, *shape)
            place = lambda tree: jax.tree.map(  # noqa: E731
                lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree
            )
            start = time.perf_counter()
            with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
                lowered = jax.jit(step).trace(place(state), place(batch)).lower(lowering_platforms=(spec["platform"],))
            try:
                compiled = lowered.compile()
            except jax.errors.JaxRuntimeError as error:
                if "RESOURCE_EXHAUSTED" not in str(error):
                    raise
                print(f"  {error}", file=sys.stderr)
                compiled = None
            rows.append(describe(compiled, target, name, shape, time.perf_counter() - start))
    return rows


def abstract_step(values: dict[str, Any], rows: int, row_len: int) -> tuple[Any, Any, Any]:
    """The runtime's step of a model in bfloat16, with stacked layers where they can be, without arrays."""
    import jax.numpy as jnp
    from flax import nnx

    from jaxcls.config.hf import HfView
    from jaxcls.engine.batch import empty_batch
    from jaxcls.engine.buckets import Bucket
    from jaxcls.pooling.activation import ScoreActivation
    from jaxcls.pooling.pooler import Pooler
    from jaxcls.registry import find_architecture

    architecture = find_architecture(values["architectures"][0])
    config = architecture.config(HfView(values))
    stacked = architecture.stacks(config)
    module = nnx.eval_shape(lambda: architecture.build(config, nnx.Rngs(0), jnp.bfloat16, stacked))
    graphdef, state = nnx.split(module)
    pooling = architecture.pooling(config) if callable(architecture.pooling) else architecture.pooling
    pooler = Pooler(pooling, ScoreActivation("sigmoid", ""), pad_token_id=config.pad_token_id)

    def step(state: Any, batch: Any) -> Any:
        model = nnx.merge(graphdef, state)
        return pooler(model(batch), batch, model.head)

    return step, state, empty_batch(Bucket(rows, row_len, 256))


def describe(compiled: Any, target: str, name: str, shape: tuple[int, int], compile_s: float) -> dict[str, Any]:
    """What the compiler says of a program; None: that it does not fit one device."""
    row = {
        "target": target,
        "model": name,
        "bucket": f"{shape[0]} x {shape[1]}",
        "fits": compiled is not None,
        "compile_s": round(compile_s, 1),
    }
    if compiled is None:
        return row | dict.fromkeys(("weights_mb", "temporaries_mb", "estimated_ms", "gflops"))
    memory, cost = compiled.memory_analysis(), compiled.cost_analysis() or {}
    return row | {
        "weights_mb": round(memory.argument_size_in_bytes / 2**20, 1),
        "temporaries_mb": round(memory.temp_size_in_bytes / 2**20, 1),
        # A negative estimate is the compiler's way of saying that it has none.
        "estimated_ms": round(1e3 * seconds, 2) if (seconds := cost.get("optimal_seconds", -1)) > 0 else None,
        "gflops": round(cost["flops"] / 1e9, 1) if "flops" in cost else None,
    }


def in_process(target: str, cuda_dir: str, *arguments: str) -> list[dict[str, Any]]:
    """`compile_all` in a process that poses as the target's host."""
    spec = TARGETS[target]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    if spec["platform"] == "tpu":
        environment |= {"TPU_SKIP_MDS_QUERY": "1", "TPU_WORKER_HOSTNAMES": "localhost", "TPU_WORKER_ID": "0"}
        environment["TPU_ACCELERATOR_TYPE"] = spec["accelerator"]
    else:
        environment["XLA_FLAGS"] = f"--xla_gpu_autotune_level=0 --xla_gpu_cuda_data_dir={cuda_dir}"
    command = [sys.executable, "-m", "benchmarks.compile_accelerators", "--target", target, *arguments]
    result = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if result.returncode:
        raise SystemExit(f"{target} does not compile: see above")
    return json.loads(result.stdout.splitlines()[-1])


def main() -> None:
    """Compiles for every target and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", choices=TARGETS, help="compile for this one, in this process")
    parser.add_argument("--published", action="store_true", help="a published checkpoint of each network, one bucket")
    parser.add_argument("--cuda-dir", default="/usr/local/cuda", help="folder that holds bin/ptxas and nvvm/")
    parser.add_argument("--json", type=Path, help="write the rows here too")
    arguments = parser.parse_args()
    if arguments.target:
        models, buckets = (published(), BUCKETS[1:]) if arguments.published else (MODELS, BUCKETS)
        print(json.dumps(compile_all(arguments.target, models, buckets)))
        return
    which = ["--published"] if arguments.published else []
    rows = [row for target in TARGETS for row in in_process(target, arguments.cuda_dir, *which)]
    print("  ".join(f"{key:>14}" for key in rows[0]))
    for row in rows:
        print("  ".join(f"{'-' if value is None else value!s:>14}" for value in row.values()))
    if arguments.json:
        arguments.json.write_text("".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    main()

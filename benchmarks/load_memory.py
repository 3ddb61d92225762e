"""How long loading takes and how much memory it needs, for a random checkpoint of about 1 GB.

    python benchmarks/load_memory.py [--json FILE] [--directory DIR]

Each row is a fresh process, so that its peak is its own; memory is what the process gained from the moment jax was up.
Linux only: peaks are read from /proc. `warm` means that the file was read shortly before, which is what the page cache
gives the second process on a machine; the time of a cold read is that of the disk.

    unrolled, stacked      weights.load, default placement: on CPU the loader's buffers become the weights
    ..., copied            the same, every parameter copied once more, as it is to an accelerator
    everything first       safetensors.numpy.load_file, then jax.device_put: what the bound is there to avoid
    cache                  weights.cache.restore of the same weights, saved by Orbax
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors.numpy import load_file, save_file

from weights import Rule, RuleTable, load, open_checkpoint, random_tensor, total_bytes

LAYERS, EMBED, MLP, VOCAB, CLASSES = 18, 1024, 2816, 32_000, 3
LAYER = {
    "attn_norm": (EMBED,),
    "attn.q": (EMBED, EMBED),
    "attn.k": (EMBED, EMBED),
    "attn.v": (EMBED, EMBED),
    "attn.o": (EMBED, EMBED),
    "mlp_norm": (EMBED,),
    "mlp.gate": (MLP, EMBED),
    "mlp.up": (MLP, EMBED),
    "mlp.down": (EMBED, MLP),
}
REST = {"embed.tokens": (VOCAB, EMBED), "final_norm": (EMBED,), "head.score": (CLASSES, EMBED)}
TABLE = RuleTable(
    (
        *(Rule(f"{name}.weight", f"model.{name}.weight") for name in REST),
        *(Rule(f"layers.{{layer}}.{name}.weight", f"model.layers.{{layer}}.{name}.weight") for name in LAYER),
    )
)
CASES = ("unrolled", "stacked", "unrolled, copied", "stacked, copied", "everything first", "cache")


def model(*, stacked: bool) -> dict:
    """The abstract model, float32."""
    import jax

    shapes = {f"{name}.weight": shape for name, shape in REST.items()}
    for name, shape in LAYER.items():
        if stacked:
            shapes[f"layers.{name}.weight"] = (LAYERS, *shape)
        else:
            shapes |= {f"layers.{i}.{name}.weight": shape for i in range(LAYERS)}
    return {path: jax.ShapeDtypeStruct(shape, np.float32) for path, shape in shapes.items()}


def write_checkpoint(directory: Path, dtype: np.dtype) -> None:
    """Writes one `model.safetensors` of random values."""
    shapes = {f"model.{name}.weight": shape for name, shape in REST.items()}
    shapes |= {f"model.layers.{i}.{name}.weight": shape for i in range(LAYERS) for name, shape in LAYER.items()}
    tensors = {name: random_tensor(0, name, shape).astype(dtype) for name, shape in shapes.items()}
    save_file(tensors, directory / "model.safetensors")


def action(case: str, directory: Path) -> Callable[[], dict]:
    """What one row of the table measures."""
    import jax

    from weights import cache

    if case == "cache":
        return lambda: cache.restore(directory / "cache", model(stacked=True))
    if case == "everything first":
        tensors = directory / "model.safetensors"
        return lambda: {name: jax.device_put(array) for name, array in load_file(tensors).items()}
    layout, _, copied = case.partition(", ")
    put = (lambda _, array: jax.numpy.array(array, copy=True)) if copied else None
    return lambda: load(open_checkpoint(directory), TABLE, model(stacked=layout == "stacked"), put=put)


def measure(case: str, directory: Path) -> None:
    """Runs one case in this process and prints its measurements as JSON."""
    import jax

    jax.block_until_ready(jax.numpy.zeros(8) + 1)
    run = action(case, directory)
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    before = resident("VmRSS")
    start = time.perf_counter()
    jax.block_until_ready(run())
    seconds = time.perf_counter() - start
    print(json.dumps({"case": case, "seconds": round(seconds, 3), "peak_mb": (resident("VmHWM") - before) // 10**6}))


def resident(key: str) -> int:
    """Bytes of resident memory: VmRSS is now, VmHWM the most there has been."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[key].split()[0]) * 1024


def main() -> None:
    """Makes the checkpoint, measures every case in a process of its own, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path, help="also write the measurements here")
    parser.add_argument("--directory", type=Path, help="where to put the temporary checkpoint (2.2 GB)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="of the checkpoint")
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        measure(arguments.case, arguments.directory)
        return

    with tempfile.TemporaryDirectory(dir=arguments.directory) as name:
        directory = Path(name)
        dtype = np.dtype(ml_dtypes.bfloat16 if arguments.dtype == "bfloat16" else np.float32)
        write_checkpoint(directory, dtype)
        save_cache(directory)
        rows = [measured(case, directory) for case in CASES if dtype == np.float32 or case != "everything first"]
    size = total_bytes(model(stacked=True)) // 10**6
    largest = total_bytes({"": model(stacked=True)["layers.mlp.up.weight"]}) // 10**6
    print(f"checkpoint {arguments.dtype}, weights float32 {size} MB, largest parameter stacked {largest} MB, warm")
    print(f"{'':20}{'seconds':>10}{'peak MB':>10}{'beyond the weights':>20}")
    for row in rows:
        print(f"{row['case']:20}{row['seconds']:10.2f}{row['peak_mb']:10}{row['peak_mb'] - size:20}")
    if arguments.json:
        arguments.json.write_text(
            json.dumps({"weights_mb": size, "largest_mb": largest, "rows": rows}, indent=1) + "\n"
        )


def save_cache(directory: Path) -> None:
    """Writes the cache entry of the stacked weights."""
    from weights import cache

    cache.save(directory / "cache", load(open_checkpoint(directory), TABLE, model(stacked=True)), {})


def measured(case: str, directory: Path) -> dict:
    """One case in a fresh process, the better of two."""
    command = [sys.executable, __file__, "--case", case, "--directory", str(directory)]
    runs = [json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout) for _ in range(2)]
    return min(runs, key=lambda run: run["seconds"])


if __name__ == "__main__":
    main()

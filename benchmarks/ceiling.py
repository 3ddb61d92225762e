"""How fast this machine multiplies matrices of the shapes of bert-base: the ceiling that shares are counted against.

    python -m benchmarks.ceiling [--threads N]

Prints one JSON line a dtype: GFLOP/s (GOP/s for int8) of every shape, the median and the best of the runs. bf16 and
int8 accumulate in float32 and int32.
"""

import argparse
import json
import os
import statistics
import time
from typing import Any

SHAPES = ((512, 768, 768), (512, 768, 3072), (512, 3072, 768))  # M, K, N
SECONDS = 1.0  # each


def measure(dtype: str, accumulate: str, shape: tuple[int, int, int]) -> tuple[float, float]:
    """Median and best rate of one product [M K] x [K N] in 1e9 operations a second."""
    import jax
    import jax.numpy as jnp

    rows, inner, columns = shape
    left = jnp.ones((rows, inner), dtype)
    right = jnp.ones((inner, columns), dtype)

    @jax.jit
    def product(a: Any, b: Any) -> Any:
        return jnp.matmul(a, b, preferred_element_type=accumulate)

    times: list[float] = []
    product(left, right).block_until_ready()
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        start = time.perf_counter()
        product(left, right).block_until_ready()
        times.append(time.perf_counter() - start)
    operations = 2 * rows * inner * columns / 1e9
    return operations / statistics.median(times), operations / min(times)


def main() -> None:
    """Measures every dtype and shape."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    threads = parser.parse_args().threads
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    for name, dtype, accumulate in (
        ("fp32", "float32", "float32"),
        ("bf16", "bfloat16", "float32"),
        ("int8", "int8", "int32"),
    ):
        rates = {"x".join(map(str, shape)): measure(dtype, accumulate, shape) for shape in SHAPES}
        shapes = {shape: {"median": round(m), "best": round(b)} for shape, (m, b) in rates.items()}
        print(json.dumps({"dtype": name, "gflops": max(s["median"] for s in shapes.values()), "shapes": shapes}))


if __name__ == "__main__":
    main()

"""How many multiply-adds this machine's cores do on registers alone: no product of matrices can be faster.

    python -m benchmarks.fma_peak [--threads N] [--rounds 15]

Prints one JSON line a dtype, in the form of `benchmarks.ceiling`: GFLOP/s (GOP/s for int8), the median and the best.
Needs a C++ compiler and AVX-512 with BF16 and VNNI, like the kernels.
"""

import argparse
import ctypes
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from kernels_cpu.build import ISA

LOOPS = 2_000_000
# Operations of one loop: 24 instructions.
OPERATIONS = {"fp32": 24 * 32, "bf16": 24 * 64, "int8": 24 * 128}


def build(folder: Path) -> ctypes.CDLL:
    """The compiled loops.

    Raises:
        SystemExit: there is no compiler.
    """
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        raise SystemExit("benchmarks.fma_peak needs a C++ compiler")
    library = folder / "fma_peak.so"
    source = Path(__file__).with_suffix(".cc")
    subprocess.run([compiler, "-O3", "-shared", "-fPIC", *ISA, str(source), "-o", str(library)], check=True)
    return ctypes.CDLL(str(library))


def measure(library: ctypes.CDLL, name: str, threads: int, rounds: int) -> list[float]:
    """1e9 operations a second of all threads together, round by round."""
    loop = getattr(library, name)
    loop.argtypes, loop.restype = [ctypes.c_int64], ctypes.c_float
    rates: list[float] = []
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(rounds):
            start = time.perf_counter()
            list(pool.map(loop, [LOOPS] * threads))  # ctypes lets go of the interpreter
            rates.append(LOOPS * OPERATIONS[name] * threads / (time.perf_counter() - start) / 1e9)
    return rates


def main() -> None:
    """Measures every dtype."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        library = build(Path(folder))
        for name in OPERATIONS:
            rates = measure(library, name, arguments.threads, arguments.rounds)
            print(json.dumps({"dtype": name, "gflops": round(statistics.median(rates)), "best": round(max(rates))}))


if __name__ == "__main__":
    main()

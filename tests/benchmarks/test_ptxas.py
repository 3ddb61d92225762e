"""What is read of the assembler's report."""

import os
import subprocess
import sys

from benchmarks.ptxas import parse

TEXT = """ptxas info    : Function properties for first_mosaic_gpu_kernel
    24 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 168 registers, used 16 barriers, 1 bytes smem
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 90 registers, used 1 barriers
"""
PROGRAM = """
import os
from benchmarks.ptxas import assembler_report
print("before", flush=True)
with assembler_report() as report:
    os.write(1, b"ptxas info    : Used 7 registers\\n")
print("after", report, os.environ.get("MOSAIC_GPU_DUMP_PTXAS"))
"""


def test_the_largest_numbers_count() -> None:
    assert parse(TEXT) == {"registers": 168, "spilled_bytes": 8}
    assert parse("nothing was compiled") == {}


def test_what_the_compiler_prints_is_held_back() -> None:
    environment = {key: value for key, value in os.environ.items() if key != "MOSAIC_GPU_DUMP_PTXAS"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=True, env=environment
    )
    assert done.stdout.splitlines() == ["before", "after {'registers': 7} None"]

"""All that is checked on a machine with a Hopper GPU, in one command.

    python -m benchmarks.gpu_checks [--only kernels,models,bf16,benchmark] [--output FOLDER]

    kernels      tests of the kernels on the device, not interpreted
    models       tiny models of every network in float32, against transformers' logits
    bf16         the same in bfloat16, which takes the kernels
    benchmark    benchmarks/kernels.py; its rows go to FOLDER

Each is a process of its own, so that one that fails, or takes the device down, leaves the others. Ends with 1 if one
failed. Without a GPU nothing is run.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.machine import ROOT

RESULTS = ROOT / "benchmarks" / "results"


def commands(device: str, folder: Path) -> dict[str, list[str]]:
    """What each check runs, by python."""
    rows = folder / f"kernels-{device.lower().replace(' ', '-')}.jsonl"
    return {
        "kernels": ["-m", "pytest", "-q", "tests/kernels", "-k", "gpu or hopper or pages"],
        "models": ["-m", "pytest", "-q", "tests/parity/test_goldens.py", "-k", "equal_those_of_transformers"],
        "bf16": ["-m", "tests.parity.bf16", "--check"],
        "benchmark": ["-m", "benchmarks.kernels", "--output", str(rows)],
    }


def main() -> None:
    """Runs the checks one after the other and says which failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="with commas; default: all")
    parser.add_argument("--output", type=Path, default=RESULTS, help="where rows of measurements go")
    arguments = parser.parse_args()
    # In a process of its own, because whoever has asked holds the device's memory.
    asked = subprocess.run(
        [sys.executable, "-c", "from benchmarks.kernels import require_gpu; print(require_gpu())"],
        cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    if asked.returncode:
        raise SystemExit(asked.returncode)
    device = asked.stdout.splitlines()[-1]
    checks = commands(device, arguments.output.absolute())
    failed = []
    for name in arguments.only.split(",") if arguments.only else checks:
        if name not in checks:
            raise SystemExit(f"unknown check {name!r}; there are {', '.join(checks)}")
        start = time.monotonic()
        code = subprocess.run([sys.executable, *checks[name]], cwd=ROOT, check=False).returncode
        print(f"{name}: {'ok' if code == 0 else f'failed ({code})'}, {time.monotonic() - start:.0f} s", flush=True)
        if code:
            failed.append(name)
    if failed:
        raise SystemExit(f"failed on {device}: {', '.join(failed)}")
    print(f"all well on {device}")


if __name__ == "__main__":
    main()

"""What the machine is."""

import os
import platform
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent
FLAGS = frozenset(
    "avx2 avx512f avx_vnni avx512_vnni avx512_bf16 avx512_fp16 amx_tile amx_bf16 amx_int8 asimd sve".split()
)


def machine(threads: int) -> dict[str, str | int | float]:
    """CPU model, cores, vector extensions, memory, system, interpreter."""
    info = _table(Path("/proc/cpuinfo").read_text().partition("\n\n")[0])
    memory = _table(Path("/proc/meminfo").read_text())["MemTotal"]
    flags = (info.get("flags") or info.get("Features") or "").split()
    return {
        "cpu": info.get("model name", platform.machine()),
        "cores": os.cpu_count() or 1,
        "threads": threads,
        "flags": " ".join(sorted(FLAGS.intersection(flags))),
        "ram_gb": round(int(memory.split()[0]) / 1e6, 1),
        "os": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "commit": commit(),
    }


def commit() -> str:
    """The commit of this repository; "+" behind it if the packages differ from it; "" outside a git checkout."""
    head = _git("rev-parse", "--short", "HEAD")
    return (
        head + "+"
        if _git("status", "--porcelain", "--", "jaxcls", "weights", "kernels_cpu", "kernels_pallas")
        else head
    )


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _table(text: str) -> dict[str, str]:
    pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}

"""Compiles kernels_cpu/src; run by hatch_build.py, so it imports neither jax nor this package.

`python kernels_cpu/build.py` compiles in place, for work on the kernels.
"""

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
LIBRARY = HERE / "_kernels.so"
ISA = ("-march=x86-64-v4", "-mavx512bf16", "-mavx512vnni", "-mprefer-vector-width=512")


class CannotCompile(Exception):
    """Why there will be no library here; not an error of the build."""


def compile_library(output: Path = LIBRARY) -> None:
    """Compiles the kernels into `output`.

    Raises:
        CannotCompile: this platform has no kernels, or a tool is missing or too old.
    """
    machine = platform.machine().lower()
    if sys.platform != "linux" or machine not in ("x86_64", "amd64"):
        raise CannotCompile(f"no kernels for {sys.platform} on {machine}")
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        raise CannotCompile("no C++ compiler (c++, g++ or clang++) was found")
    with tempfile.TemporaryDirectory() as scratch:
        common = (compiler, "-O3", "-std=c++17", "-fPIC", "-fno-math-errno", "-w", f"-I{_xla_headers()}", "-c")
        objects = []
        for source, flags in (("linear.cc", ISA), ("attention.cc", ISA), ("elementwise.cc", ISA), ("level.cc", ())):
            objects.append(str(Path(scratch) / f"{source}.o"))
            _run(*common, *flags, str(HERE / "src" / source), "-o", objects[-1])
        # Linked elsewhere and moved, so that no process ever maps half a file.
        linked = Path(scratch) / output.name
        _run(compiler, "-shared", *objects, "-o", str(linked))
        staged = output.with_suffix(".new")
        shutil.copy(linked, staged)
        staged.replace(output)


def _xla_headers() -> Path:
    spec = importlib.util.find_spec("jaxlib")
    if spec is None or spec.origin is None:
        raise CannotCompile("jaxlib, whose headers are needed, is not installed")
    return Path(spec.origin).parent / "include"


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotCompile(f"{command[0]} failed:\n{done.stderr.strip()[:2000]}")


if __name__ == "__main__":
    compile_library()
    print(f"compiled {LIBRARY}")

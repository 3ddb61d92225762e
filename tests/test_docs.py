"""Documents that are generated, and examples, stay true."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.accelerator_tables import DOCUMENT, filled
from tests.readme import README, with_table

ROOT = README.parent
EXAMPLES = [
    "classify.py",
    "async_classify.py",
    "gradients.py",
    "quantize.py",
    "every_way.py",
    "embed.py",
    "rerank.py",
    "serve.py",
]


def test_readme_lists_the_registry() -> None:
    text = README.read_text(encoding="utf-8")
    assert text == with_table(text)


def test_the_tables_of_what_was_compiled_are_those_of_the_results() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert text == filled(text)
    assert text.count("| v6e |") > 1


def test_links_between_documents_exist() -> None:
    import re

    for document in [README, *ROOT.glob("docs/*.md"), ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name} -> {target}"


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_runs(name: str, home: Path) -> None:
    result = subprocess.run(
        [sys.executable, str(ROOT / "examples" / name)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HOME": str(home)},
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout

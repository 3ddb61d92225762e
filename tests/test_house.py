"""The rules of the house: layers, imports, what an import costs."""

import subprocess
import sys

from jaxcls.registry import architecture_names, architectures, find_architecture


def run_python(code: str) -> str:
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return result.stdout.strip()


def test_layers() -> None:
    result = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout


def test_every_architecture_imports_and_names_itself() -> None:
    for name in architecture_names():
        assert name in find_architecture(name).names
    assert {name for a in architectures() for name in a.names} == set(architecture_names())


def test_importing_jaxcls_imports_nothing_heavy() -> None:
    loaded = run_python(
        "import sys, jaxcls; print([m for m in ('jax', 'flax', 'transformers', 'numpy') if m in sys.modules])"
    )
    assert loaded == "[]"


def test_classifying_a_local_checkpoint_imports_nothing_it_does_not_need(bert_path: object) -> None:
    unneeded = (
        "transformers",
        "torch",
        "orbax",
        "huggingface_hub",
        "jinja2",
        "safetensors",
        "typer",
        "tqdm",
        "pyarrow",
    )
    code = (
        f"import sys; from jaxcls import LLM; LLM({str(bert_path)!r}).classify('the cat', use_tqdm=False);"
        f"print([m for m in {unneeded} if m in sys.modules])"
    )
    assert run_python(code) == "[]"

"""Runs `python -m benchmarks.<module>` in the environment that has a peer, and reads the rows it prints."""

import dataclasses
import json
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import ROOT


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a process printed, when it was started (CLOCK_MONOTONIC), and why it failed, if it did."""

    rows: list[dict[str, Any]]
    spawned: float
    error: str | None


@dataclasses.dataclass(frozen=True)
class Environments:
    """Where the virtual environments are.

    Attributes:
        folder: has one folder for each environment; None: all peers run with the same interpreter.
        python: that interpreter.
    """

    folder: Path | None
    python: str

    def interpreter(self, name: str) -> str:
        """The interpreter of one environment, not resolved, because that is how it knows its packages."""
        return str(self.folder.absolute() / name / "bin" / "python") if self.folder else self.python


def run(interpreter: str, module: str, arguments: Sequence[str], timeout: float) -> Outcome:
    """Runs a module of benchmarks to its end, or to the timeout.

    A process that prints all its rows and then dies has failed: what it printed is kept.
    """
    # Byte code is written, as it is for everybody: a start that compiles Python measures nothing of interest.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [interpreter, "-m", f"benchmarks.{module}", *arguments]
    if not Path(interpreter).exists():
        return Outcome([], time.monotonic(), f"there is no {interpreter}: make it with benchmarks/environments.py")
    spawned = time.monotonic()
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            output, errors = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
            return Outcome(_rows(output), spawned, f"took longer than {timeout:g} s")
    return Outcome(_rows(output), spawned, _error(errors, process.returncode) if process.returncode else None)


def _rows(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines() if line.startswith("{") and line.endswith("}")]


def _error(errors: str, code: int) -> str:
    """What went wrong: from the last line of the shape `SomeError: ...` on, or else the last line."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()] or ["nothing on stderr"]
    named = [i for i, line in enumerate(lines) if line.split(":")[0].endswith(("Error", "Exception"))]
    return f"exit {code}: {' '.join(lines[named[-1] if named else -1 :])[:300]}"

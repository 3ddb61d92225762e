"""What NVIDIA's assembler says of a Mosaic GPU kernel while it is compiled."""

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

# The compiler of Mosaic GPU kernels reads it, and prints what ptxas says.
_SWITCH = "MOSAIC_GPU_DUMP_PTXAS"
_USED = re.compile(r"Used (\d+) registers")
_SPILLED = re.compile(r"(\d+) bytes spill stores")


@contextmanager
def assembler_report() -> Iterator[dict[str, int]]:
    """Of kernels compiled inside: `registers` of a thread at launch, `spilled_bytes`; the largest, if there are any.

    The compiler prints to the process's standard output, which is held back meanwhile.
    """
    report: dict[str, int] = {}
    before = os.environ.get(_SWITCH)
    os.environ[_SWITCH] = "1"
    sys.stdout.flush()
    kept = os.dup(1)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 1)
        try:
            yield report
        finally:
            sys.stdout.flush()
            os.dup2(kept, 1)
            os.close(kept)
            os.environ.pop(_SWITCH)
            if before is not None:
                os.environ[_SWITCH] = before
            file.seek(0)
            report |= parse(file.read().decode(errors="replace"))


def parse(text: str) -> dict[str, int]:
    """See `assembler_report`."""
    found = {"registers": _USED.findall(text), "spilled_bytes": _SPILLED.findall(text)}
    return {name: max(map(int, numbers)) for name, numbers in found.items() if numbers}

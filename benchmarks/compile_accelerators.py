"""Compiles whole models for TPUs and an H100 with their real compilers, on a machine that has none of them.

    python -m benchmarks.environments .bench/environments --only accelerators
    .bench/environments/accelerators/bin/python -m benchmarks.compile_accelerators [--published] [--output FILE]

What `jaxcls compile` does, for three models; with --published, for one published checkpoint of each network. Prints a
table and writes JSON lines. One process a target, because a process can only pose as one kind of machine.
"""

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.compile_kernels import ACCELERATORS, print_table
from jaxcls.aot.targets import find_target, missing

MODELS: dict[str, dict[str, Any]] = {
    "minilm": {
        "architectures": ["BertForSequenceClassification"], "model_type": "bert", "hidden_size": 384,
        "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536, "num_labels": 1,
    },
    "xlmr-base": {
        "architectures": ["XLMRobertaForSequenceClassification"], "model_type": "xlm-roberta", "vocab_size": 250002,
        "max_position_embeddings": 514, "type_vocab_size": 1, "num_labels": 1,
    },
    "qwen3-0.6b": {
        "architectures": ["Qwen3ForSequenceClassification"], "model_type": "qwen3", "hidden_size": 1024,
        "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8,
        "head_dim": 128, "max_position_embeddings": 40960, "rope_theta": 1e6, "num_labels": 1,
    },
}  # fmt: skip
# Every model has rows of 128 and 512.
MAX_LEN = 512
BUCKETS = ("64x128", "16x512")
# With a table of the pages of 512 tokens for each sequence.
PAGED = {"qwen3-0.6b": ("1x8192+32pages",)}
COLUMNS = (
    "target", "model", "bucket", "fits", "memory_bytes", "gflops", "milliseconds", "tokens_per_second", "mfu",
    "estimate_by", "compile_seconds",
)  # fmt: skip


def published() -> dict[str, dict[str, Any]]:
    """A recorded config.json of each network, by its checkpoint; heads for tokens have no network of their own."""
    from jaxcls.registry import find_architecture
    from tests.published.store import all_published

    found: dict[Any, tuple[str, dict[str, Any]]] = {}
    for entry in all_published():
        name = entry.effective_config["architectures"][0]
        if "ForToken" not in name:
            found.setdefault(find_architecture(name).names, (entry.model, entry.effective_config))
    return dict(found.values())


def compile_all(target: str, models: dict[str, dict[str, Any]], buckets: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Compiles every model and bucket for one target; this process can do so for no other any more."""
    from jaxcls.aot.model import compile_model

    for name, values in models.items():
        print(f"{target}: {name}", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "config.json").write_text(json.dumps(values))
            for program in compile_model(folder, target, buckets=buckets + PAGED.get(name, ()), max_model_len=MAX_LEN):
                yield dataclasses.asdict(program) | {"model": name}


def in_process(target: str, *arguments: str) -> list[dict[str, Any]]:
    """`compile_all` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.compile_accelerators", "--target", target, *arguments]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if result.returncode:
        raise SystemExit(f"{target} does not compile: see above")
    return [json.loads(line) for line in result.stdout.splitlines()]


def main() -> None:
    """Compiles for every target and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", choices=ACCELERATORS, help="compile for this one, in this process; prints JSON")
    parser.add_argument("--targets", default=",".join(ACCELERATORS), help="with commas; default: all")
    parser.add_argument("--models", default=",".join(MODELS), help="with commas; default: all three")
    parser.add_argument("--published", action="store_true", help="a published checkpoint of each network, one bucket")
    parser.add_argument("--output", type=Path, help="write JSON lines here")
    arguments = parser.parse_args()
    if arguments.target:
        chosen = {name: MODELS[name] for name in arguments.models.split(",")}
        models, buckets = (published(), BUCKETS[1:]) if arguments.published else (chosen, BUCKETS)
        for row in compile_all(arguments.target, models, buckets):
            print(json.dumps(row), flush=True)
        return
    which = ["--published"] if arguments.published else ["--models", arguments.models]
    rows: list[dict[str, Any]] = []
    for name in arguments.targets.split(","):
        reason = missing(find_target(name))
        if reason is not None:
            print(f"skipped {name}: {reason}")
            continue
        rows += in_process(name, *which)
    if rows:
        print_table([{column: row[column] for column in COLUMNS} for row in rows])
    if arguments.output and rows:
        arguments.output.write_text("".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    main()

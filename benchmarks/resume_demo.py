"""Kills `jaxcls classify --input` again and again and shows that the output is whole in the end.

python benchmarks/resume_demo.py                       # 10,000 short texts, 3 kills, the demo model
python benchmarks/resume_demo.py --format parquet --kills 2 --model cross-encoder/ms-marco-MiniLM-L-6-v2
"""

import argparse
import csv
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

WORDS = "the a cat dog sat ran on under mat tree happy sad very not and but blue red fast slow".split()


def short_text(index: int) -> str:
    """A text of 2 to 8 words; the same for the same index."""
    return " ".join(WORDS[(index * step) % len(WORDS)] for step in range(1, 3 + index % 7))


def rows_on_disk(output: Path) -> int:
    """A lower bound of the rows that have been written: it grows with every block."""
    parts = output.with_name(output.name + ".parts")
    if parts.exists():
        return 5000 * len(list(parts.glob("part-*.parquet")))
    lines = output.read_bytes().count(b"\n") if output.exists() else 0
    return max(lines - 1, 0) if output.suffix == ".csv" else lines


def run_and_kill(command: Sequence[str], output: Path, *, delay: float = 0.0, limit: float = 600.0) -> int:
    """Starts a run and kills it (SIGKILL) `delay` seconds after it has written further rows; returns rows on disk.

    Raises:
        RuntimeError: the run ended, or wrote nothing for `limit` seconds, before it could be killed.
    """
    before = rows_on_disk(output)
    deadline = time.monotonic() + limit
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        while rows_on_disk(output) <= before:
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                raise RuntimeError(f"not killed in the middle: {process.stderr.read().decode()}")
            time.sleep(0.005)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        if process.wait() != -signal.SIGKILL:
            raise RuntimeError("the run ended before it could be killed")
    return rows_on_disk(output)


def read_rows(output: Path) -> list[tuple[int, str]]:
    """(row, text) of every row of an output."""
    if output.suffix == ".parquet":
        import pyarrow.parquet as pq

        table = pq.read_table(output, columns=["row", "text"])
        return list(zip(table["row"].to_pylist(), table["text"].to_pylist(), strict=True))
    with output.open(newline="", encoding="utf-8") as stream:
        if output.suffix == ".csv":
            return [(int(row["row"]), row["text"]) for row in csv.DictReader(stream)]
        return [(row["row"], row["text"]) for row in map(json.loads, stream)]


def main() -> None:
    """Runs the demonstration; exits with 1 if a row is lost, doubled or wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--format", choices=("jsonl", "csv", "parquet"), default="jsonl")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    delays = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder, "in.txt"), Path(folder, f"out.{arguments.format}")
        texts = [short_text(i) for i in range(arguments.rows)]
        source.write_text("".join(text + "\n" for text in texts))
        command = [sys.executable, "-m", "jaxcls.cli", "classify", "--model", arguments.model]
        command += ["--input", str(source), "--output", str(output)]
        for kill in range(arguments.kills):
            # Small steps leave time to kill it; they change nothing in the scores.
            written = run_and_kill([*command, "--max-num-batched-tokens", "64"], output, delay=delays.uniform(0, 0.2))
            print(f"kill {kill + 1}: {written:,} rows on disk")
        last = subprocess.run(command, check=True, stderr=subprocess.PIPE, text=True)
        print(last.stderr.strip())
        rows = read_rows(output)
    counts = Counter(row for row, _ in rows)
    lost = arguments.rows - len(counts)
    doubled = sum(count > 1 for count in counts.values())
    wrong = sum(text != texts[row] for row, text in rows)
    print(f"{len(rows):,} rows: {lost} lost, {doubled} doubled, {wrong} with another text")
    sys.exit(bool(lost or doubled or wrong or rows != list(enumerate(texts))))


if __name__ == "__main__":
    main()

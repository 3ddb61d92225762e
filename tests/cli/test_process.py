"""The command as a process: killed, interrupted, piped, on a terminal, with very many rows."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from benchmarks.resume_demo import run_and_kill, short_text
from jaxcls import LLM
from tests.cli.rows_helpers import read_rows, run_job

JAXCLS = [sys.executable, "-m", "jaxcls.cli"]


def command(model: Path, *arguments: object) -> list[str]:
    return [*JAXCLS, "classify", "--model", str(model), *map(str, arguments)]


def slow(model: Path, source: Path, target: Path) -> list[str]:
    """A run whose steps are so small that it can be stopped in the middle."""
    return command(model, "--input", source, "--output", target, "--max-num-batched-tokens", 32)


def write_texts(path: Path, count: int) -> list[str]:
    texts = [short_text(i) for i in range(count)]
    path.write_text("".join(text + "\n" for text in texts))
    return texts


@pytest.mark.parametrize(("suffix", "count", "kills"), [("jsonl", 5000, 2), ("csv", 5000, 1), ("parquet", 15_000, 1)])
def test_killed_and_resumed(bert: LLM, bert_path: Path, tmp_path: Path, suffix: str, count: int, kills: int) -> None:
    source, target = tmp_path / "in.txt", tmp_path / f"out.{suffix}"
    texts = write_texts(source, count)
    for kill in range(kills):
        assert 0 < run_and_kill(slow(bert_path, source, target), target, delay=0.05 * kill) < count
        assert not json.loads((tmp_path / f"out.{suffix}.progress.json").read_bytes())["complete"]
    final = command(bert_path, "--input", source, "--output", target)
    last = subprocess.run(final, capture_output=True, text=True, check=True)
    assert f"{count:,} rows, " in last.stderr
    assert "of them from before" in last.stderr
    rows = read_rows(target)
    assert [row["row"] for row in rows] == list(range(count))
    assert [row["text"] for row in rows] == texts
    for row, output in zip(rows, bert.classify(texts, use_tqdm=False), strict=True):
        assert output.outputs is not None
        assert float(row["score"]) == pytest.approx(max(output.outputs.probs), abs=1e-5)


def test_interrupted_keeps_what_was_computed(bert_path: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "in.txt", tmp_path / "out.jsonl"
    write_texts(source, 20_000)
    # A suite that was started in the background has it ignored, and so would the command.
    listen = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(slow(bert_path, source, target), stderr=subprocess.PIPE, preexec_fn=listen) as process:  # noqa: PLW1509
        assert process.stderr is not None
        while not (target.exists() and target.stat().st_size):
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        assert b"interrupted; the same command continues from here" in process.stderr.read()
    assert 0 < len(read_rows(target)) < 20_000
    assert subprocess.run(command(bert_path, "--input", source, "--output", target), check=True).returncode == 0
    assert [row["row"] for row in read_rows(target)] == list(range(20_000))


def test_the_reader_of_a_pipe_may_leave(bert_path: Path, tmp_path: Path) -> None:
    source = tmp_path / "in.txt"
    write_texts(source, 3000)
    with subprocess.Popen(
        command(bert_path, "--input", source), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["row"] == 0
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 141


def on_terminal(arguments: list[str], *, stdout: bool) -> tuple[str, int]:
    """What a command shows on a terminal: all, or without `stdout` only its standard error."""
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(
        arguments, stdout=follower if stdout else subprocess.DEVNULL, stderr=follower, env=environment
    )
    os.close(follower)
    shown = b""
    while process.poll() is None or select.select([leader], [], [], 0.1)[0]:
        if select.select([leader], [], [], 0.1)[0]:
            try:
                data = os.read(leader, 65536)
            except OSError:
                break
            shown += data
    os.close(leader)
    return shown.decode(), process.wait()


def test_a_table_on_a_terminal(bert_path: Path) -> None:
    shown, status = on_terminal(command(bert_path, "[red]the cat", "cat " * 200), stdout=True)
    assert status == 3
    assert "[red]the cat" in shown
    assert "%" in shown
    assert "█" in shown
    assert "202 tokens" in shown
    assert '{"row"' not in shown


def test_models_and_info_are_tables_on_a_terminal(bert_path: Path) -> None:
    shown, status = on_terminal([*JAXCLS, "models"], stdout=True)
    assert status == 0
    assert "BertForSequenceClassification" in shown
    assert "{" not in shown
    shown, status = on_terminal([*JAXCLS, "info", str(bert_path)], stdout=True)
    assert status == 0
    assert "3 labels and no problem_type" in shown
    assert '"labels"' not in shown


def test_progress_on_a_terminal(bert_path: Path, tmp_path: Path) -> None:
    source = tmp_path / "in.txt"
    write_texts(source, 5000)
    arguments = ("--input", source, "--output", tmp_path / "out.csv", "--max-num-batched-tokens", 32)
    shown, status = on_terminal(command(bert_path, *arguments), stdout=False)
    assert status == 0
    assert shown.count("tokens/s") > 3
    assert "rows/s" in shown
    assert "5,000 rows in" in shown


def test_help_and_wrong_usage_import_nothing_heavy() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from jaxcls.cli.app import app\n"
        "for name in ('classify', 'zero-shot', 'reward', 'tokens'):\n"
        "    assert CliRunner().invoke(app, [name, '--help']).exit_code == 0\n"
        "    assert CliRunner().invoke(app, [name]).exit_code == 2\n"
        "print([m for m in ('jax', 'flax', 'transformers', 'numpy', 'pyarrow', 'tokenizers') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


def in_process(code: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False, env=environment
    )


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "in.parquet").write_bytes(b"")
    code = "import sys; sys.modules['pyarrow'] = None; from jaxcls.cli import main; main()"
    result = in_process(code, "classify", "--input", tmp_path / "in.parquet")
    assert result.returncode == 2
    assert result.stderr == 'error: parquet files need pyarrow: pip install "jaxcls[parquet]"\n'


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from tests.cli.rows_helpers import run_job

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    run_job(Path(sys.argv[1]), Path(sys.argv[2]))
except OSError as error:
    print(error.strerror)
"""


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_a_full_disk_leaves_whole_rows(tmp_path: Path, suffix: str) -> None:
    source, target = tmp_path / "in.txt", tmp_path / f"out.{suffix}"
    write_texts(source, 5000)
    result = in_process(FULL_DISK, source, target)
    assert result.stdout == "File too large\n", result.stderr
    assert 0 < target.stat().st_size < 200_000
    rows = read_rows(target)
    assert len(rows) % 1000 == 0
    assert [row["row"] for row in rows] == list(range(len(rows)))
    assert run_job(source, target).before == len(rows)
    assert [row["row"] for row in read_rows(target)] == list(range(5000))


MEMORY = """
import sys
from pathlib import Path
from jaxcls.rows import Progress, run
from tests.cli.rows_helpers import CLASSIFIER, text_job

folder, suffix, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
source = folder / f"in-{count}.{suffix}"
text = "word " * 400
if suffix == "parquet":
    import pyarrow as pa, pyarrow.parquet as pq
    schema = pa.schema([("text", pa.string())])
    with pq.ParquetWriter(source, schema) as writer:
        for start in range(0, count, 500):
            writer.write_table(pa.table({"text": [f"{i} {text}" for i in range(start, start + 500)]}, schema))
else:
    with source.open("w") as stream:
        stream.write("text\\n" if suffix == "csv" else "")
        for i in range(count):
            stream.write(f'{{"text": "{i} {text}"}}\\n' if suffix == "jsonl" else f"{i} {text}\\n")
summary = run(text_job(source, folder / f"out-{count}.{suffix}"), lambda: CLASSIFIER, Progress())
assert (summary.rows, summary.errors) == (count, 0)
status = Path("/proc/self/status")
if status.exists():  # Linux hands getrusage's maximum on through exec
    print(next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")))
else:
    import resource
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_memory_does_not_grow_with_the_rows(tmp_path: Path, suffix: str) -> None:
    def peak(count: int) -> float:
        result = in_process(MEMORY, tmp_path, suffix, count)
        assert result.returncode == 0, result.stderr
        return int(result.stdout) / 1024

    # Peaks of equal parquet runs differ by 30 MB: many more rows tell that from growth.
    few, many = (50_000, 150_000) if suffix == "parquet" else (2_000, 42_000)
    growth = peak(many) - peak(few)
    texts = (many - few) * 2000 / 2**20
    assert texts > 70
    assert growth < 0.4 * texts

import subprocess
import sys
from pathlib import Path

import memory_helpers as memory
import pytest

from weights import load, open_checkpoint

SLACK = 8 << 20  # bytes: headers, plans, temporaries of one chunk


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return memory.write(tmp_path_factory.mktemp("checkpoint"))


@pytest.mark.parametrize(
    ("stacked", "largest"), [(True, memory.STACK), (False, memory.ROW)], ids=["stacked", "unrolled"]
)
def test_the_host_holds_one_parameter_and_one_row_beside_the_weights(
    checkpoint: Path, stacked: bool, largest: int
) -> None:
    model = memory.target(stacked=stacked)

    def action() -> object:
        return load(open_checkpoint(checkpoint), memory.TABLE, model, put=memory.copy_to_device)

    assert largest <= memory.allocated_beyond(0, action) <= largest + memory.ROW + SLACK


@pytest.mark.parametrize("stacked", [True, False], ids=["stacked", "unrolled"])
def test_on_cpu_the_weights_are_all_there_is(checkpoint: Path, stacked: bool) -> None:
    model = memory.target(stacked=stacked)
    # The default put hands the loader's own buffer over: it becomes the weight.
    beyond = memory.allocated_beyond(memory.TOTAL, lambda: load(open_checkpoint(checkpoint), memory.TABLE, model))
    assert beyond <= SLACK


def test_the_guard_catches_a_loader_that_reads_everything_first(checkpoint: Path) -> None:
    model = memory.target(stacked=True)

    def action() -> object:
        return load(memory.Greedy(checkpoint), memory.TABLE, model, put=memory.copy_to_device)

    assert memory.allocated_beyond(0, action) > memory.STACK + memory.ROW + SLACK


def resident_bytes(checkpoint: Path, source: str, layout: str) -> tuple[int, int]:
    command = [sys.executable, memory.__file__, str(checkpoint), source, layout]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    peak, final = map(int, done.stdout.split())
    return peak, final


on_linux = pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc, which Linux has")


@on_linux
def test_a_large_table_is_never_resident_twice(tmp_path: Path) -> None:
    path = memory.write_embedding(tmp_path)
    peak, final = resident_bytes(path, "lazy", "embedding")
    assert final >= memory.EMBEDDING
    # Beside the weight: the part of the mapped file that is being copied.
    assert peak <= memory.EMBEDDING + memory.EMBEDDING // 8 + 4 * SLACK


@on_linux
def test_a_table_in_its_file_takes_no_memory(tmp_path: Path) -> None:
    peak, final = resident_bytes(memory.write_embedding(tmp_path), "lazy", "in file")
    assert final <= 2 * SLACK
    assert peak <= memory.EMBEDDING // 8 + 4 * SLACK


@on_linux
def test_resident_memory_of_a_process_is_bounded_alike(checkpoint: Path) -> None:
    slack = 4 * SLACK  # allocator, threads, pages of the mapped file
    for layout, largest in (("stacked", memory.STACK), ("unrolled", memory.ROW)):
        peak, final = resident_bytes(checkpoint, "lazy", layout)
        assert memory.TOTAL <= final <= memory.TOTAL + slack
        assert peak <= memory.TOTAL + largest + memory.ROW + slack
    peak, _ = resident_bytes(checkpoint, "greedy", "unrolled")
    assert peak > memory.TOTAL + memory.ROW + memory.ROW + slack

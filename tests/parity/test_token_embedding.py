"""Every way to embed tokens: rows read from the file, step by step, are those of a table in memory."""

from pathlib import Path

import numpy as np
import pytest

from jaxcls.config.engine import DtypeName
from tests.parity.ours import load_ours, quick_compilation, run_ours
from tests.parity.store import all_goldens, write_checkpoint

BY_NAME = {golden.case.name: golden for golden in all_goldens()}
# Padding ids that shift positions, factorised and scaled embeddings, relative positions, pages, layers of two kinds.
NAMES = ("bert", "roberta", "albert", "deberta-v2", "modernbert", "nomic", "gpt2", "gemma", "qwen3", "jamba")
RUNS: list[tuple[str, DtypeName]] = [*((name, "float32") for name in NAMES), ("roberta", "bfloat16")]


@pytest.mark.parametrize(("name", "dtype"), RUNS)
def test_rows_from_the_file_are_those_in_memory(name: str, dtype: DtypeName, tmp_path: Path) -> None:
    golden = BY_NAME[f"{name}-base"]
    write_checkpoint(golden.case.config, golden.shapes, golden.case.seed, tmp_path)
    with quick_compilation(""):
        llms = [
            load_ours(golden.case, tmp_path, "unrolled", dtype=dtype, token_embedding=where)
            for where in ("memory", "file")
        ]
        memory, file = (run_ours(llm, golden.case.prompts) for llm in llms)
    np.testing.assert_array_equal(memory, file)

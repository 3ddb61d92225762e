"""Models with relative positions only take prompts longer than max_position_embeddings where the user says so."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from jaxcls.errors import ConfigError, PromptError
from tests.parity.cases import override
from tests.parity.ours import PARITY, load_ours, run_ours
from tests.parity.store import GOLDENS, read_golden, write_checkpoint


def test_relative_positions_have_no_end(tmp_path: Path) -> None:
    """The golden's model has more positions, of which it uses none."""
    golden = read_golden(GOLDENS / "deberta-v2-span-20.json")
    case = dataclasses.replace(golden.case, config=override(golden.case.config, {"max_position_embeddings": 20}))
    write_checkpoint(case.config, golden.shapes, case.seed, tmp_path)
    llm = load_ours(case, tmp_path, "unrolled", max_model_len=40)
    np.testing.assert_allclose(run_ours(llm, case.prompts), golden.logits, atol=PARITY)
    with pytest.raises(PromptError, match="at most 20"):
        run_ours(load_ours(case, tmp_path, "unrolled"), case.prompts)


def test_absolute_positions_end(tmp_path: Path) -> None:
    golden = read_golden(GOLDENS / "deberta-v2-absolute.json")
    write_checkpoint(golden.case.config, golden.shapes, golden.case.seed, tmp_path)
    with pytest.raises(ConfigError, match="positions for 40"):
        load_ours(golden.case, tmp_path, "unrolled", max_model_len=41)

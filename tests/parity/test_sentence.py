"""Embedders against sentence-transformers' numbers, which are committed: no torch."""

import json
from pathlib import Path

import numpy as np
import pytest

from jaxcls import LLM
from tests.parity.ours import INVARIANCE, PARITY
from tests.parity.sentence import CASES, PATH, Case

STORED = json.loads(PATH.read_text())


def rows(llm: LLM, case: Case, call: dict[str, object], texts: list[str]) -> list[np.ndarray]:
    if case.late:
        outputs = llm.token_embed(texts, use_tqdm=False, **call)  # pyright: ignore[reportArgumentType]
        return [out.outputs.embeddings for out in outputs if out.outputs]
    outputs = llm.embed(texts, use_tqdm=False, **call)  # pyright: ignore[reportArgumentType]
    return [out.outputs.embedding for out in outputs if out.outputs]


@pytest.mark.parametrize("name", CASES)
def test_embeddings_are_those_of_sentence_transformers(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    case.write(tmp_path)
    llm = LLM(tmp_path, dtype="float32", compilation_cache_dir=False)
    for number, call in enumerate(case.calls):
        ours, stored = rows(llm, case, dict(call), case.texts), STORED[f"{name}-{number}"]
        for mine, theirs in zip(ours, stored, strict=True):
            assert mine.dtype == np.float32
            np.testing.assert_allclose(mine, np.array(theirs), atol=PARITY)
        # Packing changes nothing.
        for text, mine in zip(case.texts, ours, strict=True):
            (alone,) = rows(llm, case, dict(call), [text])
            np.testing.assert_allclose(alone, mine, atol=INVARIANCE)


def test_every_golden_has_a_case() -> None:
    names = {f"{name}-{number}" for name, case in CASES.items() for number in range(len(case.calls))}
    assert set(STORED) == {"made_with", *names}

"""Committed goldens: jaxcls gives transformers' logits, whatever the layout, the order and the packing. No torch."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.parity.cases import Prompt, all_cases
from tests.parity.conftest import PROPERTY
from tests.parity.ours import INVARIANCE, PARITY, Layout, in_full, layouts, load_ours, quick_compilation, run_ours
from tests.parity.store import GOLDENS, Golden, Shapes, all_goldens, compress, expand, write_checkpoint
from tests.parity.table import TABLE, render, without_deltas

ALL = all_goldens()
BY_NAME = {golden.case.name: golden for golden in ALL}

# `make parity` runs others stacked.
STACKED = [name for name in BY_NAME if in_full(name) and "stacked" in layouts(BY_NAME[name].case.config)]
RUNS: list[tuple[str, Layout]] = [*((n, "unrolled") for n in BY_NAME), *((n, "stacked") for n in STACKED)]
BASES = [name for name in BY_NAME if name.endswith("-base")]
# Steps of a few short rows and few sequences: other buckets, other neighbours.
SMALL_STEPS = {"max_num_batched_tokens": 64, "max_num_seqs": 3}
# Where a neighbour in the row could leak in: positions, windows, lengths, padding ids, token types.
DELICATE = (
    "bert-base",
    "xlm-roberta-pad-5",
    "llama-rope-dynamic-v4",
    "qwen2-window-of-1",
    "qwen3-window-all-layers",
    "gemma-pad-is-eos",
    "gemma-use-bidirectional",
    "deberta-v2-conv-layers",
    "gemma2-soft-cap-low",
    "gemma3-window-bidirectional",
    "llama-rope-longrope-v4",
    "llama-bidirec-pooling-last",
)


def write(golden: Golden, folder: Path, *, seed: int | None = None, shapes: Shapes | None = None) -> None:
    seed = golden.case.seed if seed is None else seed
    write_checkpoint(golden.case.config, golden.shapes if shapes is None else shapes, seed, folder)


def by_prompt(rows: np.ndarray, prompts: Sequence[Prompt]) -> list[np.ndarray]:
    """The rows of each prompt: one, or of token classifiers one a token."""
    sizes = [1] * len(prompts) if len(rows) == len(prompts) else [len(prompt.ids) for prompt in prompts]
    return np.split(rows, np.cumsum(sizes)[:-1])


def max_delta(a: np.ndarray, b: np.ndarray) -> float:
    assert a.shape == b.shape
    return float(np.abs(a - b).max())


def test_goldens_belong_to_the_declared_cases():
    """A changed case needs new goldens: `python -m tests.parity.live --write`."""
    assert {golden.case.name: golden.case for golden in ALL} == {case.name: case for case in all_cases()}


def test_goldens_stay_small():
    assert sum(path.stat().st_size for path in GOLDENS.glob("*.json")) < 1_100_000


def test_logits_are_of_order_one():
    """The absolute bound means something: the largest logit of a case is neither tiny nor huge."""
    for golden in ALL:
        assert 0.05 < np.abs(golden.logits).max() < 10, golden.case.name


@pytest.mark.parametrize(("name", "layout"), RUNS)
def test_logits_equal_those_of_transformers(name: str, layout: Layout, tmp_path: Path, record_property):
    golden = BY_NAME[name]
    write(golden, tmp_path)
    with quick_compilation(name):
        ours = run_ours(load_ours(golden.case, tmp_path, layout), golden.case.prompts)
    delta = max_delta(ours, golden.logits)
    record_property(PROPERTY, [name, layout, delta])
    assert delta <= PARITY


@pytest.mark.parametrize("name", BASES[::4])
def test_other_weights_give_other_logits(name: str, tmp_path: Path):
    """The comparison can fail."""
    golden = BY_NAME[name]
    write(golden, tmp_path, seed=golden.case.seed + 1)
    ours = run_ours(load_ours(golden.case, tmp_path, "unrolled"), golden.case.prompts)
    assert max_delta(ours, golden.logits) > 100 * PARITY


@pytest.mark.parametrize(
    ("name", "layout", "options"),
    [*((name, "unrolled", {}) for name in BASES), *((name, "stacked", SMALL_STEPS) for name in DELICATE)],
)
def test_order_packing_and_bucket_change_nothing(name: str, layout: Layout, options: dict[str, int], tmp_path: Path):
    golden = BY_NAME[name]
    prompts = golden.case.prompts
    write(golden, tmp_path)
    llm = load_ours(golden.case, tmp_path, layout, **options)
    alone = [run_ours(llm, [prompt]) for prompt in prompts]

    @settings(max_examples=20 if name in DELICATE else 6, deadline=None, derandomize=True, database=None)
    @given(st.lists(st.integers(0, len(prompts) - 1), min_size=1, max_size=40))
    def same_rows(picked: list[int]) -> None:
        rows = run_ours(llm, [prompts[i] for i in picked])
        assert max_delta(rows, np.concatenate([alone[i] for i in picked])) <= INVARIANCE

    same_rows()


def _tensorflow_names(name: str) -> str:
    return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")


@pytest.mark.parametrize(
    ("name", "rename", "extra"),
    [
        ("bert-base", _tensorflow_names, {}),
        ("bert-base", str, {"bert.embeddings.position_ids": (1, 40)}),
        ("roberta-base", str, {"roberta.embeddings.position_ids": (1, 34)}),
        ("bert-tokens-base", str, {"bert.pooler.dense.weight": (48, 48), "bert.pooler.dense.bias": (48,)}),
        ("ernie-base", lambda name: name.replace("ernie.", "bert."), {"bert.embeddings.position_ids": (1, 40)}),
        ("ernie-no-task-id", str, {"ernie.embeddings.task_type_embeddings.weight": (3, 48)}),
        ("deberta-base", _tensorflow_names, {"deberta.embeddings.position_embeddings.weight": (30, 36)}),
        ("deberta-v2-base", str, {"lm_predictions.lm_head.bias": (83,), "mask_predictions.dense.weight": (36, 36)}),
        ("deberta-v2-absolute-only", str, {"deberta.encoder.rel_embeddings.weight": (16, 36)}),
        ("gpt2-base", lambda name: name.removeprefix("transformer."), {"h.0.attn.bias": (1, 1, 40, 40)}),
        ("qwen3-base", str, {"lm_head.weight": (97, 36)}),
        ("llama-base", str, {"model.layers.0.self_attn.rotary_emb.inv_freq": (5,), "lm_head.weight": (97, 40)}),
    ],
)
def test_names_of_older_files(name: str, rename: Callable[[str], str], extra: Shapes, tmp_path: Path):
    """Older spellings, and tensors that carry nothing, change no logit."""
    from safetensors.numpy import load_file, save_file

    golden = BY_NAME[name]
    write(golden, tmp_path, shapes={**golden.shapes, **extra})
    file = tmp_path / "model.safetensors"
    save_file({rename(key): tensor for key, tensor in load_file(file).items()}, file)
    ours = run_ours(load_ours(golden.case, tmp_path, "unrolled"), golden.case.prompts)
    assert max_delta(ours, golden.logits) <= PARITY


def test_templates_are_lossless():
    for golden in ALL:
        assert expand(*compress(golden.shapes)) == golden.shapes
    different: Shapes = {"a.0.w": (1,), "a.1.w": (2,), "a.2.w": (1,), "a.4.w": (1,), "h.0.w": (3,)}
    assert expand(*compress(different)) == different
    experts: Shapes = {f"a.{i}.e.{j}.w": (1,) for i in (1, 2) for j in range(4)} | {"a.0.w": (1,)}
    assert compress(experts) == (3, {"a.{1-2}.e.{0-3}.w": [1], "a.0.w": [1]})
    assert expand(*compress(experts)) == experts


def test_table_is_current():
    """docs/parity.md names the cases and architectures that this suite runs, and no bound is exceeded in it."""
    page = TABLE.read_text()
    zeros = dict.fromkeys(RUNS, 0.0)
    assert without_deltas(page) == without_deltas(render(ALL, zeros))
    fewer = [golden for golden in ALL if golden.case.name != "bert-base"]
    assert without_deltas(page) != without_deltas(render(fewer, zeros))
    assert without_deltas(page) != without_deltas(render(ALL, {**zeros, ("bert-act-relu", "stacked"): 0.0}))


def test_cases_are_told_apart():
    """A golden of another configuration, prompt or attention is another case."""
    case = BY_NAME["llama-base"].case
    assert case != dataclasses.replace(case, config={**case.config, "rope_theta": 1.0})
    assert case != dataclasses.replace(case, prompts=case.prompts[1:])

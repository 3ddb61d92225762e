"""Every causal architecture: reused prefixes and prompts computed in chunks give the rows of whole prompts."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxcls.config.hf import HfView
from jaxcls.registry import find_architecture
from tests.parity.cases import Prompt
from tests.parity.ours import INVARIANCE, Layout, load_ours, quick_compilation, run_ours
from tests.parity.store import all_goldens, write_checkpoint

BY_NAME = {golden.case.name: golden for golden in all_goldens()}
# Beside one case a network: windows, caps, padding ids, divisors, experts and heads that tokens share.
DELICATE = (
    "qwen2-window-of-1",
    "qwen3-window-all-layers",
    "gemma-pad-is-eos",
    "gemma2-soft-cap-low",
)


def config_of(name: str) -> Any:
    config = BY_NAME[name].case.config
    return find_architecture(config["architectures"][0]).config(HfView(config))


def pageable(name: str) -> bool:
    return config_of(name).kv_heads_per_layer is not None


# Of classifiers of tokens, whose rows are computed in chunks too, some.
TOKENS = ("qwen2-tokens-base", "qwen2-prm-base")
PAGED = [
    name
    for name in BY_NAME
    if pageable(name) and (name in (*DELICATE, *TOKENS) or (name.endswith("-base") and "-tokens" not in name))
]
RUNS: list[tuple[str, Layout]] = [*((name, "unrolled") for name in PAGED), *((name, "stacked") for name in DELICATE)]


def prompts(name: str) -> tuple[list[Prompt], list[Prompt]]:
    """Prompts that begin alike, and longer ones that do not."""
    cfg, rng = config_of(name), np.random.default_rng(0)

    def draw(count: int) -> tuple[int, ...]:
        return tuple(rng.integers(0, cfg.vocab_size, count).tolist())

    prefix, longest = draw(min(40, cfg.max_len // 2)), min(150, cfg.max_len)
    return [Prompt(prefix + draw(n)) for n in (9, 1, 13, 5, 7)], [Prompt(draw(n)) for n in (longest, longest - 17)]


@pytest.mark.parametrize(("name", "layout"), RUNS)
def test_pages_change_nothing(name: str, layout: Layout, tmp_path: Path) -> None:
    golden = BY_NAME[name]
    write_checkpoint(golden.case.config, golden.shapes, golden.case.seed, tmp_path)
    alike, long = prompts(name)
    with quick_compilation(""):
        whole = load_ours(golden.case, tmp_path, layout, enable_prefix_caching=False, enable_chunked_prefill=False)
        paged = load_ours(golden.case, tmp_path, layout, max_num_batched_tokens=32, block_size=8, kv_cache_tokens=1024)
        assert paged.model.paging is not None
        for given in ([*alike, *long], alike):
            np.testing.assert_allclose(run_ours(paged, given), run_ours(whole, given), atol=INVARIANCE, rtol=0)
    assert whole.stats.tokens_reused == 0
    # Rewards of steps need every token's row: nothing is reused, but prompts are still computed in chunks.
    per_token = "classify" not in paged.model.checkpoint.tasks
    shared = len(alike[0].ids) - 9
    assert (paged.stats.tokens_reused == 0) == per_token
    assert per_token or paged.stats.tokens_reused >= (2 * len(alike) - 1) * (shared // 8) * 8 * 0.7
    assert paged.model.paging.planner.allocator.num_available == paged.model.paging.shape.num_pages


def test_who_has_pages() -> None:
    """Causal models whose rotations do not depend on the length; nobody is left out unseen."""
    without = [name for name in BY_NAME if not pageable(name)]
    decoders = ("qwen", "llama", "mistral", "gemma", "gpt2", "phi", "internlm", "jamba")
    exempt = ("dynamic", "longrope", "bidirec", "jamba", "embedding")
    assert len(PAGED) >= 12
    assert [n for n in without if n.startswith(decoders) and not any(word in n for word in exempt)] == []

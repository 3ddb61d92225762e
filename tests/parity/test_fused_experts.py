"""Files of transformers 5 may hold the matrices of all experts as one tensor; the logits are the same."""

import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.parity.ours import PARITY, load_ours, run_ours
from tests.parity.store import GOLDENS, read_golden, write_checkpoint

_EXPERT = re.compile(r"(.*\.experts)\.(\d+)\.(\w+)_proj\.weight")


def fuse(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    fused = {name: tensor for name, tensor in tensors.items() if not _EXPERT.fullmatch(name)}
    for prefix in {match[1] for match in map(_EXPERT.fullmatch, tensors) if match}:
        count = 1 + max(int(match[2]) for match in map(_EXPERT.fullmatch, tensors) if match and match[1] == prefix)
        gate, up, down = (
            np.stack([tensors[f"{prefix}.{expert}.{name}_proj.weight"] for expert in range(count)])
            for name in ("gate", "up", "down")
        )
        fused |= {f"{prefix}.gate_up_proj": np.concatenate([gate, up], axis=1), f"{prefix}.down_proj": down}
    return fused


@pytest.mark.parametrize("name", ["qwen2moe-base", "qwen3moe-layers-mlp-only", "jamba-base"])
def test_fused_experts_give_the_same_logits(name: str, tmp_path: Path):
    golden = read_golden(GOLDENS / f"{name}.json")
    write_checkpoint(golden.case.config, golden.shapes, golden.case.seed, tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    fused = fuse(tensors)
    assert len(fused) < len(tensors)
    save_file(fused, file)
    ours = run_ours(load_ours(golden.case, tmp_path, "unrolled"), golden.case.prompts)
    assert np.abs(ours - golden.logits).max() <= PARITY

"""Embedders against transformers: every network that has a golden, and base models as transformers saves them.

A classifier whose head is dense layers is an embedder with these layers as modules of their own, without Normalize: its
embeddings are the golden's logits.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jaxcls import LLM
from jaxcls.config.hf import HfView
from jaxcls.models.architecture import Architecture
from jaxcls.registry import find_architecture
from tests.modules import write_modules
from tests.parity.ours import PARITY
from tests.parity.store import GOLDENS as STORED
from tests.parity.store import Golden, read_golden, write_checkpoint

_TORCH = {"tanh": "activation.Tanh", "relu": "activation.ReLU", "gelu": "activation.GELU", None: "linear.Identity"}
_POOLING = {"CLS": "cls", "MEAN": "mean", "LAST": "lasttoken"}


def _read(golden: Golden) -> tuple[Architecture, Any, str]:
    """Its architecture, config and pooling."""
    architecture = find_architecture(golden.case.architecture)
    cfg = architecture.config(HfView(golden.case.config))
    pooling = architecture.pooling(cfg) if callable(architecture.pooling) else architecture.pooling
    return architecture, cfg, _POOLING[pooling]


# One of each way in which heads, poolings and tensor names differ.
NAMES = "bert distilbert gte-new llama-bidirec mpnet nomic-published qwen3 xlm-roberta".split()
GOLDENS = {name: read_golden(STORED / f"{name}-base.json") for name in NAMES}


def write_embedder(golden: Golden, folder: Path) -> None:
    """The golden's checkpoint as a base model, and its head as Dense modules."""
    architecture, cfg, pooling = _read(golden)
    write_checkpoint(golden.case.config, golden.shapes, golden.case.seed, folder)
    base = golden.case.architecture.replace("ForSequenceClassification", "Model")
    (folder / "config.json").write_text(json.dumps({**golden.case.config, "architectures": [base]}))
    tensors = load_file(folder / "model.safetensors")
    table = architecture.weights(cfg)
    rules = {rule.target: rule for rule in table.rules}
    called = {table.rename(name): name for name in tensors}
    layers = []
    for layer, act in (("head.dense", cfg.head.activation), ("head.score", None)):
        parts = {}
        for leaf in ("weight", "bias"):
            rule = rules.get(f"{layer}.{leaf}")
            if rule is not None and rule.sources[0] in called:
                parts[f"linear.{leaf}"] = rule.made_by.apply([tensors.pop(called[rule.sources[0]])])
        if parts:
            layers.append((parts, f"torch.nn.modules.{_TORCH[act]}"))
    save_file(tensors, folder / "model.safetensors")
    write_modules(folder, pooling=pooling, dense=layers, normalize=False)


@pytest.mark.parametrize("name", GOLDENS)
def test_dense_modules_give_the_logits_of_the_classifier(name: str, tmp_path: Path) -> None:
    golden = GOLDENS[name]
    write_embedder(golden, tmp_path)
    llm = LLM(tmp_path, dtype="float32", skip_tokenizer_init=True, compilation_cache_dir=False)
    assert llm.model.checkpoint.embedder is not None
    # transformers' classifiers look for a token that is no padding, sentence-transformers for the last.
    pad, pooling = golden.case.config.get("pad_token_id"), llm.model.checkpoint.pooling_type
    chosen = [i for i, p in enumerate(golden.case.prompts) if pooling != "LAST" or p.ids[-1] != pad]
    prompts = [
        {"prompt_token_ids": list(p.ids), **({} if p.types is None else {"token_type_ids": list(p.types)})}
        for p in (golden.case.prompts[i] for i in chosen)
    ]
    ours = np.stack([out.outputs.embedding for out in llm.embed(prompts, use_tqdm=False) if out.outputs])
    assert ours.shape == (len(chosen), golden.logits.shape[1])
    np.testing.assert_allclose(ours, golden.logits[chosen], atol=PARITY)


@pytest.mark.parametrize(
    ("name", "pooling"),
    [
        *(("bert", "MEAN"), ("gte", "CLS"), ("modernbert", "MEAN"), ("mpnet", "MEAN"), ("nomic", "MEAN")),
        *(("gemma3", "MEAN"), ("qwen3", "LAST"), ("eurobert", "MEAN"), ("xlm-roberta", "CLS")),
    ],
)
def test_normalised_embeddings_of_base_models(name: str, pooling: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="compares with live torch: run `make parity`")
    from tests.parity.oracle import load_model, saved_shapes

    case = read_golden(STORED / f"{name}-base.json").case
    config = {**case.config, "architectures": [case.architecture.replace("ForSequenceClassification", "Model")]}
    if name == "gemma3":
        config["use_bidirectional_attention"] = True  # EmbeddingGemma
    write_checkpoint(config, saved_shapes(config), case.seed, tmp_path)
    model = load_model(tmp_path, attention="sdpa" if name == "gemma3" else "eager")
    llm = LLM(
        tmp_path,
        convert="embed",
        pooler_config={"pooling_type": pooling},
        dtype="float32",
        skip_tokenizer_init=True,
        compilation_cache_dir=False,
    )
    outputs = llm.embed([list(prompt.ids) for prompt in case.prompts], use_tqdm=False)
    for prompt, out in zip(case.prompts, outputs, strict=True):
        ids = torch.tensor([prompt.ids])
        with torch.no_grad():
            hidden = model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0]
        pooled = {"CLS": hidden[0], "MEAN": hidden.mean(0), "LAST": hidden[-1]}[pooling]
        assert out.outputs is not None
        expected = torch.nn.functional.normalize(pooled, dim=0).numpy()
        np.testing.assert_allclose(out.outputs.embedding, expected, atol=PARITY)

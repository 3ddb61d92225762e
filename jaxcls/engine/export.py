"""Checkpoints for transformers: a language model's rows as an ordinary classification head."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from jaxcls.config.engine import EngineOptions, engine_config
from jaxcls.engine.checkpoint import open_checkpoint
from jaxcls.engine.converted import empty_directory, write_files
from jaxcls.engine.load import abstract_model, rule_table
from jaxcls.errors import ConfigError
from weights.accounting import check_names
from weights.export import save_tensors
from weights.source import open_checkpoint as open_files


def export(model: str | Path, output: str | Path, **options: Unpack[EngineOptions]) -> Path:
    """Writes a checkpoint that transformers loads, with the same logits: a `*ForSequenceClassification`.

    What a language model's head is made of (`labels`, `classifier_from_token`, a published reranker) becomes an
    ordinary `score.weight`, in float32; all other tensors keep their dtype, and the output matrix is left out.

    Args:
        model: as for `LLM`.
        output: a directory that does not exist or is empty.
        **options: as for `LLM`; those that say how weights lie in memory have no effect.

    Returns:
        The output directory.

    Raises:
        ConfigError: the output is not empty, or options that `LLM` would refuse.
        CheckpointError: a checkpoint that `LLM` would refuse.
    """
    directory = empty_directory(output)
    config = engine_config(model, {**options, "dtype": "float32", "token_embedding": "auto"})
    checkpoint = open_checkpoint(config)
    if checkpoint.embedder is not None:
        raise ConfigError(f"{checkpoint.name} is loaded as an embedder: transformers reads the checkpoint as it is")
    source = open_files(checkpoint.path)
    table = rule_table(checkpoint, source.names())
    own = {rule.target: rule for rule in checkpoint.architecture.weights(checkpoint.config).rules}
    check_names({n: source.shape(n) for n in source.names()}, table, abstract_model(checkpoint, config).target)

    def tensors() -> Iterator[tuple[str, Any]]:
        for name in source.names():
            if not table.ignores(name) and not table.rename(name).startswith("lm_head."):
                yield table.rename(name), source.read(name)
        by_name = {table.rename(name): name for name in source.names()}
        for rule in table.rules if checkpoint.head_rows else ():
            if rule.target.startswith("head.") and all(part in by_name for part in rule.sources):
                parts = [source.read(by_name[part]) for part in rule.sources]
                (head,) = own[rule.target].sources
                yield head, rule.made_by.apply(parts).astype(np.float32)

    write_files(checkpoint, directory)
    save_tensors(directory, tensors())
    return directory

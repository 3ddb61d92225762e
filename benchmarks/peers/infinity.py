# pyright: reportMissingImports=false
"""Infinity's synchronous engine on torch. It gives probabilities, not logits."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

import torch
from infinity_emb import EngineArgs, SyncEngineArray

from benchmarks.peers.base import Peer, Scores, Settings, make_once, only_pairs, only_texts
from benchmarks.workloads import Item

TOKENIZER_CONFIG = "tokenizer_config.json"
DTYPES = {"fp32": "float32", "bf16": "bfloat16"}


class Infinity(Peer):
    """classify for texts, rerank for pairs, one call a query."""

    scores: ClassVar[Literal["logits", "probs"]] = "probs"

    def __init__(self, settings: Settings):
        torch.set_num_threads(settings.threads)
        self.model = str(settings.exports)
        arguments = EngineArgs(
            model_name_or_path=self.model,
            engine="torch",
            device="cpu",
            batch_size=settings.batch,
            model_warmup=False,
            bettertransformer=False,
            compile=False,
            lengths_via_tokenize=False,
            dtype=DTYPES[settings.dtype],
        )
        self.engine = SyncEngineArray.from_args([arguments])

    def run(self, items: Sequence[Item]) -> Scores:
        """Probabilities of every item."""
        if pairs := only_pairs(items):
            return self._rerank(pairs)
        answers, _ = self.engine.classify(model=self.model, sentences=only_texts(items)).result()
        ranked = [sorted(answer, key=lambda entry: entry["label"]) for answer in answers]
        return [[float(entry["score"]) for entry in answer] for answer in ranked]

    def _rerank(self, pairs: list[tuple[str, str]]) -> Scores:
        scores: Scores = [[]] * len(pairs)
        groups: dict[str, list[int]] = {}
        for index, (query, _) in enumerate(pairs):
            groups.setdefault(query, []).append(index)
        futures = {
            query: self.engine.rerank(model=self.model, query=query, docs=[pairs[index][1] for index in indices])
            for query, indices in groups.items()
        }
        for query, future in futures.items():
            for answer in future.result()[0]:
                scores[groups[query][answer.index]] = [float(answer.relevance_score)]
        return scores


def prepare(settings: Settings) -> None:
    """A folder like the checkpoint's whose tokenizer cuts where all peers cut: Infinity has no argument for that."""
    make_once(settings.exports, lambda folder: _link(settings, folder))


def _link(settings: Settings, folder: Path) -> None:
    for file in settings.model.iterdir():
        if file.name != TOKENIZER_CONFIG:
            (folder / file.name).symlink_to(file)
    config = json.loads((settings.model / TOKENIZER_CONFIG).read_text())
    (folder / TOKENIZER_CONFIG).write_text(json.dumps(config | {"model_max_length": settings.max_length}))

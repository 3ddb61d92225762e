"""Evaluate the demo model and write its model card."""

import csv
import hashlib
import json
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from demo_corpus import SOURCES
from safetensors import safe_open

from jaxcls import LLM

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Row:
    """One line of a split of the corpus."""

    text: str
    label: str
    package: str
    path: str
    licence: str


@dataclass(frozen=True)
class Result:
    """Confusions of one split: ``counts[i, j]`` snippets of language i were called language j."""

    labels: tuple[str, ...]
    counts: np.ndarray

    @property
    def total(self) -> int:
        """Number of snippets."""
        return int(self.counts.sum())

    @property
    def accuracy(self) -> float:
        """Share of snippets whose first answer is right."""
        return float(np.trace(self.counts) / self.counts.sum())


def read_split(corpus: Path, split: str) -> list[Row]:
    """The rows of "train", "validation" or "test"."""
    with (corpus / f"{split}.jsonl").open(encoding="utf-8") as file:
        return [Row(**json.loads(line)) for line in file]


def evaluate(model: Path, rows: Sequence[Row]) -> Result:
    """Classifies every row as a user would; snippets over the model's length are cut to it."""
    llm = LLM(model)
    labels = llm.model.checkpoint.labels
    outputs = llm.classify([row.text for row in rows], tokenization_kwargs={"truncation": True})
    counts = np.zeros((len(labels.names), len(labels.names)), int)
    for row, output in zip(rows, outputs, strict=True):
        counts[labels.index(row.label), labels.index(output.outputs.label)] += 1
    return Result(labels.names, counts)


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _split_table(corpus: Path, splits: dict[str, list[Row]]) -> str:
    def digest(split: str) -> str:
        return hashlib.sha256((corpus / f"{split}.jsonl").read_bytes()).hexdigest()[:16]

    rows = [
        (split, len(found), len({row.package for row in found}), f"`{digest(split)}`")
        for split, found in splits.items()
    ]
    return _table(("split", "snippets", "packages", "sha256 of the file begins"), rows)


def _language_table(result: Result, splits: dict[str, list[Row]]) -> str:
    trained = Counter(row.label for row in splits["train"])
    packages: dict[str, set[str]] = defaultdict(set)
    for row in splits["test"]:
        packages[row.label].add(row.package)
    rows = []
    for i, label in enumerate(result.labels):
        wrong = sorted(((int(n), result.labels[j]) for j, n in enumerate(result.counts[i]) if n and j != i))[::-1]
        called = ", ".join(f"{name} {n}" for n, name in wrong[:3])
        total, predicted, right = result.counts[i].sum(), result.counts[:, i].sum(), result.counts[i, i]
        row = (label, trained[label], total, len(packages[label]), f"{right / total:.1%}", f"{right / predicted:.1%}")
        rows.append((*row, called or "-"))
    header = ("language", "trained on", "tested on", "test packages", "recall", "precision", "most often taken for")
    return _table(header, rows)


def _confusion_table(result: Result) -> str:
    rows = [
        (f"{i + 1} {label}", *(str(n) if n else "" for n in result.counts[i])) for i, label in enumerate(result.labels)
    ]
    return _table(("true \\ predicted", *(str(i + 1) for i in range(len(result.labels)))), rows)


def _source_table(sources: Path, splits: dict[str, list[Row]]) -> str:
    split_of = {row.package: split for split, rows in splits.items() for row in rows}
    rows = []
    with sources.open(newline="") as file:
        for row in csv.DictReader(file):
            key = f"{row['registry']}:{row['package']}@{row['version']}"
            rows.append((f"{row['package']} {row['version']}", row["registry"], row["licence"], split_of.get(key, "-")))
    return _table(("package", "registry", "licence", "split"), rows)


CARD = """\
---
library_name: jaxcls
pipeline_tag: text-classification
license: apache-2.0
---
# Which language is this snippet?

A small BERT classifier that tells {languages} programming, markup and data languages apart from 3 to 20 lines of text.
It is embedded in jaxcls so that the first example needs no download:

```python
from jaxcls import LLM

(out,) = LLM("demo").classify("SELECT name FROM users WHERE id = 3;")
print(out.outputs.labels(top_k=3))
```

**Top-1 accuracy {accuracy:.2%}** on {total} held-out snippets, none from a project seen in training.

## Model

{layers} post-norm transformer layers, width {width}, {heads} heads, {positions} positions, a byte-level BPE of
{vocab} tokens, {parameters:,} parameters in bfloat16: {size:,} bytes with the tokenizer. `config.json`,
`model.safetensors` and `tokenizer.json` are a Hugging Face `BertForSequenceClassification` checkpoint.

## Data

Snippets are cut at random places from source files of the packages listed below, each under a permissive licence that
was read from the package's own metadata. The split is by project: all packages of one code base are in one split.
Left out are vendored, generated, minified and templated files, licence headers, snippets of which less than half is
code (comments, embedded text), Markdown and reStructuredText without any markup, and training snippets that share
three consecutive lines with a validation or test snippet.

{split_table}

## Accuracy

On the test split, by the code that serves the model (`LLM(path).classify`), with the bfloat16 weights as stored:

{language_table}

On the validation split, which is smaller, not balanced and has fewer projects to a language, it is {validation:.2%} of
{validation_total} snippets. Neither split was trained on; both were looked at while the corpus's filters and the
tokenizer were chosen.

## Limits

* It always answers with one of its {languages} languages, whatever it is given; prose gets an arbitrary one.
* Some snippets have no single right answer: TypeScript without a type is JavaScript, much C is C++, plain XML may be
  HTML, a paragraph with a list is both Markdown and reStructuredText. The label is that of the file.
* Java, Kotlin, Swift and Objective-C come mostly from mobile plug-ins, C# from game engines, SQL mostly from
  PostgreSQL: other dialects and domains are answered less reliably.
* Only the first {positions} tokens are looked at when `tokenization_kwargs={{"truncation": True}}` is given; longer
  prompts are an error otherwise.

## Reproduce

```bash
pip install "jaxcls[train]" unearth
python examples/demo_corpus.py CORPUS                                     # needs pip, npm and apt-get (Debian 12)
python examples/train_demo.py --corpus CORPUS --output jaxcls/demo        # a quarter of an hour on two CPU cores
python examples/train_demo.py --corpus CORPUS --output jaxcls/demo --evaluate-only
```

`sources.csv` pins the packages. The corpus is the same to the byte each time; training is seeded, and differs in the
last digits between machines.

## Confusion matrix

Rows are the true language, columns the predicted one, numbered in the same order.

{confusion_table}

## Sources

{source_table}
"""


def write_sample(rows: Sequence[Row], path: Path, per_language: int = 8) -> None:
    """Writes the first `per_language` rows of every language: a held-out sample small enough for a repository."""
    taken: Counter[str] = Counter()
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            taken[row.label] += 1
            if taken[row.label] <= per_language:
                file.write(json.dumps(vars(row), ensure_ascii=False) + "\n")


def write_card(corpus: Path, model: Path, validation: Result, test: Result) -> None:
    """Writes README.md beside the checkpoint, from the results of the two splits that were not trained on."""
    config = json.loads((model / "config.json").read_text())
    splits = {split: read_split(corpus, split) for split in SPLITS}
    with safe_open(model / "model.safetensors", framework="flax") as tensors:
        parameters = sum(math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
    card = CARD.format(
        languages=len(test.labels),
        accuracy=test.accuracy,
        total=test.total,
        validation=validation.accuracy,
        validation_total=validation.total,
        layers=config["num_hidden_layers"],
        width=config["hidden_size"],
        heads=config["num_attention_heads"],
        positions=config["max_position_embeddings"],
        vocab=config["vocab_size"],
        parameters=parameters,
        size=sum((model / name).stat().st_size for name in ("config.json", "model.safetensors", "tokenizer.json")),
        split_table=_split_table(corpus, splits),
        language_table=_language_table(test, splits),
        confusion_table=_confusion_table(test),
        source_table=_source_table(SOURCES, splits),
    )
    (model / "README.md").write_text(card, encoding="utf-8")

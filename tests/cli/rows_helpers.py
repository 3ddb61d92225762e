"""A classifier without a model: scores are a function of the text, so that every row can be checked on its own."""

import csv
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from jaxcls.cli.tasks import Choice, label_results
from jaxcls.errors import PromptError
from jaxcls.outputs import ClassificationOutput, ClassificationRequestOutput
from jaxcls.rows import Job, Progress, Scorer, Selection, Summary, run, text_columns

LABELS = ("bad", "good", "so so")
TOO_LONG = "far too long"


def score(text: str) -> float:
    return zlib.crc32(text.encode()) % 1000 / 1000


def output(index: int, prompt: Any, *, exclusive: bool = True) -> ClassificationRequestOutput:
    text = prompt if isinstance(prompt, str) else "|".join(prompt)
    if TOO_LONG in text:
        error = PromptError("90 tokens, but the model takes 64", index=index)
        return ClassificationRequestOutput(str(index), None, [], error)
    first = score(text)
    probs = [first, (1 - first) * 0.75, (1 - first) * 0.25]
    scores = ClassificationOutput(probs, [10 * p for p in probs], exclusive, LABELS)
    return ClassificationRequestOutput(str(index), scores, list(range(len(text) + 2)))


def classify(prompts: Iterator[Any]) -> Iterator[ClassificationRequestOutput]:
    """Reads some prompts ahead of its outputs, as a model does."""
    ahead: list[ClassificationRequestOutput] = []
    for index, prompt in enumerate(prompts):
        ahead.append(output(index, prompt))
        if len(ahead) == 7:
            yield from ahead
            ahead = []
    yield from ahead


def classifier(
    run: Callable[[Iterator[Any]], Iterator[ClassificationRequestOutput]] = classify,
    labels: tuple[str, ...] = LABELS,
    choice: Choice | None = None,
) -> Scorer[ClassificationOutput]:
    return Scorer(run, label_results(labels, choice or Choice()))


CLASSIFIER = classifier()


def text_job(source: Path, target: Path, selection: Selection | None = None, **options: Any) -> Job:
    return Job(source, target, selection or text_columns(), **options)


def run_job(source: Path, target: Path, selection: Selection | None = None, **options: Any) -> Summary:
    chosen = {name: options.pop(name) for name in ("top_k", "threshold", "logits") if name in options}
    job = text_job(source, target, selection, settings={**chosen, **options.pop("settings", {})}, **options)
    return run(job, lambda: classifier(choice=Choice(**chosen)), Progress())


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of an output as dictionaries, whatever its format."""
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as stream:
            return [{**row, "row": int(row["row"])} for row in csv.DictReader(stream, strict=True)]
    return [json.loads(line) for line in path.read_bytes().splitlines()]

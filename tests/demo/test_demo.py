"""The embedded classifier: what it answers, what it weighs, and what its card says."""

import csv
import json
import re
from pathlib import Path

import pytest
from transformers import AutoTokenizer

import jaxcls
from jaxcls import LLM

DEMO = Path(jaxcls.__file__).parent / "demo"
HELD_OUT = [json.loads(line) for line in (Path(__file__).parent / "heldout.jsonl").read_text().splitlines()]
PERMISSIVE = set(
    "0BSD Apache-2.0 BSD-2-Clause BSD-3-Clause BSL-1.0 CC0-1.0 ISC MIT MIT-0 MIT-CMU PSF-2.0 PSF-based PostgreSQL TCL "
    "Unlicense Zlib public-domain".split()
)


@pytest.fixture(scope="module")
def llm() -> LLM:
    return LLM("demo")


def _sources() -> dict[str, dict[str, str]]:
    with (DEMO / "sources.csv").open(newline="") as file:
        return {f"{row['registry']}:{row['package']}@{row['version']}": row for row in csv.DictReader(file)}


def _card_splits() -> dict[str, str]:
    rows = re.findall(r"^\| (\S+) (\S+) \| (\w+) \| [^|]+ \| (\S+) \|$", (DEMO / "README.md").read_text(), re.MULTILINE)
    return {f"{registry}:{name}@{version}": split for name, version, registry, split in rows}


def test_nine_of_ten_held_out_snippets_are_right(llm: LLM) -> None:
    outputs = llm.classify([row["text"] for row in HELD_OUT], tokenization_kwargs={"truncation": True}, use_tqdm=False)
    right = [out.outputs.label == row["label"] for out, row in zip(outputs, HELD_OUT, strict=True)]
    assert len(right) >= 200
    assert sum(right) / len(right) >= 0.9


def test_every_label_has_held_out_snippets(llm: LLM) -> None:
    labels = json.loads((DEMO / "config.json").read_text())["id2label"].values()
    assert len(labels) >= 16
    assert {row["label"] for row in HELD_OUT} == set(labels) == set(llm.model.checkpoint.labels.names)


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("SELECT name FROM users\nWHERE id = 3\nORDER BY name;", "SQL"),
        ("def greet(name):\n    print(f'hello {name}')\n\nif __name__ == '__main__':\n    greet('you')", "Python"),
        ("fn main() {\n    let mut sum = 0;\n    for i in 0..9 { sum += i }\n    println!(\"{sum}\");\n}", "Rust"),
        ("#!/bin/bash\nset -e\nfor f in *.txt; do\n  echo \"$f\"\ndone", "Shell"),
    ],
)  # fmt: skip
def test_plain_examples(llm: LLM, text: str, label: str) -> None:
    (out,) = llm.classify(text, use_tqdm=False)
    assert out.outputs is not None
    assert out.outputs.label == label


def test_the_whole_folder_is_under_three_megabytes() -> None:
    assert sum(path.stat().st_size for path in DEMO.rglob("*") if path.is_file()) <= 3_000_000


def test_transformers_reads_the_tokenizer_and_blanks_survive(llm: LLM) -> None:
    theirs = AutoTokenizer.from_pretrained(str(DEMO))
    assert theirs.model_max_length == llm.model.checkpoint.max_len
    for text in ("def f(x):\n\n    return x\t# é\n", "  a\n\n\n\tb  "):
        (out,) = llm.classify(text, use_tqdm=False)
        ids = theirs(text)["input_ids"]
        assert out.prompt_token_ids == ids
        assert theirs.decode(ids, skip_special_tokens=True) == text


def test_every_source_has_a_permissive_licence() -> None:
    for name, row in _sources().items():
        assert set(re.split(" AND | OR ", row["licence"])) <= PERMISSIVE, name


def test_held_out_snippets_are_of_packages_that_training_never_saw() -> None:
    sources, splits = _sources(), _card_splits()
    project_splits = {name: {splits[key] for key, row in sources.items() if row["project"] == name and key in splits}
                      for name in {row["project"] for row in sources.values()}}  # fmt: skip
    for row in HELD_OUT:
        source = sources[row["package"]]
        assert row["licence"] == source["licence"]
        assert row["label"] in source["languages"].split(";")
        assert project_splits[source["project"]] == {"test"}


def test_the_card_states_an_accuracy_of_nine_in_ten() -> None:
    stated = re.search(r"Top-1 accuracy ([\d.]+)%", (DEMO / "README.md").read_text())
    assert stated is not None
    assert float(stated[1]) >= 90

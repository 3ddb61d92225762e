"""results.jsonl -> tables and plots in a document.

    python -m benchmarks.report results.jsonl [--document docs/performance.md]
    python -m benchmarks.report results.jsonl --print machine,throughput-fp32      prints the tables, writes nothing

The document says where: everything between `<!-- bench NAME -->` and `<!-- /bench -->` is replaced. Plots go into the
folder plots/ beside it. NAME is

    machine                         the machines and their rates of matrix multiplication
    throughput-DTYPE                jaxcls against the best peer of the same precision, then everybody
    cold-DTYPE, latency-DTYPE       seconds to the first answer; milliseconds for one text
    memory-DTYPE                    the most memory held
    accuracy-DTYPE                  differences from the reference
    refusals                        what was not measured, and why
"""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from benchmarks import results, tables
from benchmarks.peers.table import DTYPES
from benchmarks.results import Row
from benchmarks.summary import Matrix, Metric, matrix

MARKED = re.compile(r"(<!-- bench (\S+) -->\n).*?(<!-- /bench -->)", re.DOTALL)
EMPTY = "Not measured."


def blocks(rows: Sequence[Row], names: Sequence[str]) -> tuple[dict[str, str], dict[str, Matrix]]:
    """Markdown of each block, and the matrices that are to be plotted, by the names of the blocks.

    Raises:
        SystemExit: a name that no block has.
    """
    texts: dict[str, str] = {}
    plots: dict[str, Matrix] = {}
    for name in names:
        if name == "machine":
            texts[name] = tables.machine(rows)
        elif name == "refusals":
            texts[name] = tables.refusals(rows)
        elif name.removeprefix("accuracy-") in DTYPES:
            texts[name] = tables.agreement(rows, name.removeprefix("accuracy-"))
        else:
            metric, dtype = _parsed(name)
            found = matrix(rows, metric, dtype)
            if found.columns:
                plots[name] = found
            texts[name] = _block(name, found, rows, metric, dtype) if found.columns else EMPTY
    return texts, plots


def _block(name: str, found: Matrix, rows: Sequence[Row], metric: Metric, dtype: str) -> str:
    compared = tables.against_best(found, rows, dtype, ceiling=metric == "throughput")
    everybody = f"<details><summary>All peers</summary>\n\n{tables.everybody(found)}\n\n</details>"
    return f"![{metric}, {dtype}](plots/{name}.svg)\n\n{compared}\n\n{everybody}"


def _parsed(name: str) -> tuple[Metric, str]:
    metric, _, dtype = name.rpartition("-")
    for known in get_args(Metric):
        if metric == known and dtype in DTYPES:
            return known, dtype
    raise SystemExit(f"no block is called {name!r}; see python -m benchmarks.report --help")


def written(document: str, texts: dict[str, str]) -> str:
    """The document with its blocks replaced."""
    return MARKED.sub(lambda match: f"{match[1]}{texts[match[2]]}\n{match[3]}", document)


def marked(document: str) -> list[str]:
    """Names of the blocks that a document has.

    Raises:
        SystemExit: none, so that nothing would be written.
    """
    names = [match[2] for match in MARKED.finditer(document)]
    if not names:
        raise SystemExit("the document has no blocks `<!-- bench NAME -->` ... `<!-- /bench -->`")
    return names


def main() -> None:
    """Writes the document and its plots."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--document", type=Path, default=Path("docs/performance.md"))
    parser.add_argument("--print", help="names of blocks, with commas")
    args = parser.parse_args()
    rows = results.read(args.results)
    if not rows:
        raise SystemExit(f"{args.results} has no rows")
    if args.print:
        texts, _ = blocks(rows, args.print.split(","))
        print(re.sub(r"!\[.*\n\n", "", "\n\n".join(texts.values())))  # without the pictures
        return
    document = args.document.read_text()
    texts, plots = blocks(rows, marked(document))
    if plots:
        from benchmarks.plots import plot

        for name, found in plots.items():
            plot(found, args.document.parent / "plots" / f"{name}.svg")
    args.document.write_text(written(document, texts))


if __name__ == "__main__":
    main()

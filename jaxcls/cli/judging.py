"""What `jaxcls evaluate` does: rankings of a file, judgements, and the means of the metrics."""

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxcls.cli.terminal import message, print_table, stdout_is_terminal
from jaxcls.metrics import ndcg, reciprocal_rank
from jaxcls.rows import NUMBERS, RANKING, Column, Kind, RowsError, Selection, open_reader

_IDS = Kind(
    "a list of ids", lambda value: isinstance(value, list) and all(isinstance(x, str | int) for x in value), nested=True
)
_ID = Kind("an id", lambda value: isinstance(value, str | int), whole=True)
_RESULTS = Column("results", "results", RANKING)


@dataclass(frozen=True)
class Judged:
    """One query.

    Attributes:
        gains: relevances of its documents as they were ranked.
        relevances: of all its documents.
        error: why it has no ranking; None: it has one.
    """

    gains: list[float]
    relevances: list[float]
    error: str | None = None


def judged_by_column(path: Path, column: str) -> Iterator[Judged]:
    """Rankings whose relevances are beside them, in the order in which the documents were given.

    Raises:
        RowsError: the file cannot be read, or lacks a column.
    """
    relevances = Column("relevances_column", column, NUMBERS)
    for item, error in _items(path, (_RESULTS, relevances)):
        yield Judged([], [], error) if error else _judged(item[0], item[1])


def judged_by_qrels(path: Path, qrels: Path, query_id: str, document_ids: str) -> Iterator[Judged]:
    """Rankings judged by a file; a document that it does not name is not relevant.

    Raises:
        RowsError: a file cannot be read, or lacks a column.
    """
    known = read_qrels(qrels)
    columns = (_RESULTS, Column("query_id_column", query_id, _ID), Column("document_ids_column", document_ids, _IDS))
    for item, error in _items(path, columns):
        if error:
            yield Judged([], [], error)
            continue
        ranking, query, documents = item
        names = list(map(str, documents))
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            yield Judged([], [], f"document {twice!r} is there twice: it would count twice")
            continue
        judgements = known.get(str(query), {})
        found = _judged(ranking, [judgements.get(name, 0.0) for name in names])
        yield Judged(found.gains, list(judgements.values()), found.error)


def read_qrels(path: Path) -> dict[str, dict[str, float]]:
    """TREC's format: query id, a number that is not used, document id, relevance. -> query -> document -> relevance.

    Raises:
        RowsError: there is no such file, or a line is something else.
    """
    if not path.is_file():
        raise RowsError(f"{path} is not a file")
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        try:
            query, _, document, relevance = fields
            found[query][document] = float(relevance)
        except ValueError:
            raise RowsError(
                f"{path}, line {number}: not a judgement but {line!r}; it must be: query id, 0, document id, relevance"
            ) from None
    return dict(found)


def show_metrics(judged: Iterator[Judged], cutoffs: list[int], *, table: bool | None) -> int:
    """Prints the means; returns how many queries had no ranking."""
    queries = list(judged)
    if not queries:
        raise RowsError("there are no rankings: the file is empty")
    values: dict[str, Any] = {}
    for k in cutoffs:
        values[f"ndcg@{k}"] = sum(ndcg(query.gains, query.relevances, k) for query in queries) / len(queries)
        values[f"mrr@{k}"] = sum(reciprocal_rank(query.gains, k) for query in queries) / len(queries)
    bad = [(number, query.error) for number, query in enumerate(queries) if query.error]
    if stdout_is_terminal() if table is None else table:
        print_table(("", ""), [("queries", f"{len(queries):,}"), *((name, f"{x:.4f}") for name, x in values.items())])
    else:
        print(json.dumps({"queries": len(queries), "bad": len(bad), **values}))
    if bad:
        message(f"{len(bad)} rows have no ranking and count as 0; the first is row {bad[0][0]}: {bad[0][1]}")
    return len(bad)


def _items(path: Path, columns: tuple[Column, ...]) -> Iterator[tuple[tuple[Any, ...], str | None]]:
    for row in open_reader(path, Selection(columns, "none")).rows():
        yield row.item or (), row.error


def _judged(ranking: list[dict[str, Any]], relevances: list[float]) -> Judged:
    indices = [entry["index"] for entry in ranking]
    if len(set(indices)) < len(indices):
        return Judged([], relevances, "a document is ranked twice")
    wrong = next((index for index in indices if not 0 <= index < len(relevances)), None)
    if wrong is not None:
        return Judged([], relevances, f"document {wrong} is ranked, but only {len(relevances)} are judged")
    return Judged([relevances[index] for index in indices], relevances)

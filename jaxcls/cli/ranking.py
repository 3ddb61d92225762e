"""Commands of pairs: score them, rank documents, and say how good a ranking is."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jaxcls.cli.exits import EXIT_BAD_ROWS, reported
from jaxcls.cli.options import (
    Format,
    Loading,
    Model,
    Rows,
    Traceback,
    Truncate,
    given,
    model_option,
    result_option,
    rows_option,
)
from jaxcls.cli.scoring import run_task

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jaxcls.cli.tasks import Task
    from jaxcls.rows import InputRow

_PAIR = "QUERY DOCUMENT..."


@dataclass(frozen=True)
class Pairing:
    """What a query and a document are put into; the arguments of `LLM.score`."""

    label: Annotated[
        str | None, model_option("--label", help="Of a model with several classes, the one whose score it is.")
    ] = None
    instruction: Annotated[
        str | None, model_option("--instruction", help="What is searched for, where the prompt has a place for it.")
    ] = None
    chat_template: Annotated[
        str | None,
        model_option("--chat-template", help="What a pair is put into: a file with Jinja, or a built-in prompt."),
    ] = None
    max_tokens_per_query: Annotated[
        int | None, model_option("--max-tokens-per-query", min=1, help="Cut queries to so many tokens.")
    ] = None
    max_tokens_per_doc: Annotated[
        int | None, model_option("--max-tokens-per-doc", min=1, help="Cut documents to so many tokens.")
    ] = None
    truncate: Truncate = None

    def arguments(self) -> dict[str, Any]:
        """Those of `LLM.score` that were given; a template's text in place of its file."""
        options = given(**vars(self))
        template = options.get("chat_template")
        if template is not None and Path(template).is_file():
            options["chat_template"] = Path(template).read_text(encoding="utf-8")
        return options


Arguments = Annotated[
    list[str] | None, typer.Argument(metavar=_PAIR, help="A query, and the documents that may answer it.")
]
QueryColumn = Annotated[str | None, rows_option("--query-column", help='Column of the queries; "query" if not given.')]


def score(
    *,
    texts: Arguments = None,
    query_column: QueryColumn = None,
    document_column: Annotated[
        str | None, rows_option("--document-column", help='Column of the documents; "document" if not given.')
    ] = None,
    rows: Rows,
    model: Model,
    pairing: Pairing,
    loading: Loading,
    logits: Annotated[bool, result_option("--logits", help="Logits as well.")] = False,
) -> None:
    """Score how well documents answer a query, or the pair in every row of a file.

    Truncation cuts the document, then the query, and never the prompt around them. Output, resuming and exit codes are
    those of classify.
    """
    rows.check(texts, _PAIR, query_column=query_column, document_column=document_column)
    query, documents = _split(texts)

    def task() -> "Task[Any]":
        from jaxcls.cli.tasks import score_task

        columns = (query_column or "query", document_column or "document")
        return score_task(columns, rows.keep, pairing.arguments(), logits=logits)

    def arguments() -> "Iterable[InputRow]":
        from jaxcls.rows import InputRow

        for index, document in enumerate(documents):
            yield InputRow(index, (query, document), {"query": query, "document": document})

    run_task(task, model, loading.arguments(), rows, arguments)


def rerank(
    *,
    texts: Arguments = None,
    query_column: QueryColumn = None,
    documents_column: Annotated[
        str | None,
        rows_option("--documents-column", help='Column of lists of documents or their JSON; "documents" if not given.'),
    ] = None,
    rows: Rows,
    model: Model,
    pairing: Pairing,
    loading: Loading,
    top_n: Annotated[int | None, result_option("--top-n", min=1, help="Only the best N documents.")] = None,
    score_threshold: Annotated[
        float | None, result_option("--score-threshold", help="Only documents that score this.")
    ] = None,
    no_documents: Annotated[
        bool, result_option("--no-documents", help="Positions and scores only, without the documents.")
    ] = False,
) -> None:
    """Rank documents by how well they answer a query, or those in every row of a file.

    Rankings of files can be compared with judgements by `jaxcls evaluate`. Output, resuming and exit codes are those of
    classify; in csv and parquet a ranking is JSON.
    """
    rows.check(texts, _PAIR, query_column=query_column, documents_column=documents_column)
    query, documents = _split(texts)

    def task() -> "Task[Any]":
        from jaxcls.cli.tasks import rerank_task

        columns = (query_column or "query", documents_column or "documents")
        ranking = {"top_n": top_n, "score_threshold": score_threshold, "return_documents": not no_documents}
        return rerank_task(columns, rows.keep, pairing.arguments(), ranking)

    def arguments() -> "Iterable[InputRow]":
        from jaxcls.rows import InputRow

        yield InputRow(0, (query, documents), {"query": query})

    run_task(task, model, loading.arguments(), rows, arguments)


def evaluate(
    *,
    ranked: Annotated[Path, typer.Argument(metavar="RANKED", help="What `jaxcls rerank --output` wrote.")],
    relevances_column: Annotated[
        str | None,
        rows_option("--relevances-column", help="Column of lists: how relevant each document is, in their order."),
    ] = None,
    qrels: Annotated[
        Path | None, rows_option("--qrels", help="TREC judgements: query id, 0, document id, relevance on each line.")
    ] = None,
    query_id_column: Annotated[
        str, rows_option("--query-id-column", help="Column of the ids of queries, with --qrels.")
    ] = "query_id",
    document_ids_column: Annotated[
        str, rows_option("--document-ids-column", help="Column of lists of the documents' ids, with --qrels.")
    ] = "document_ids",
    k: Annotated[list[int] | None, result_option("--k", min=1, help="Look at the first K; 10 if not given.")] = None,
    format: Annotated[Format, result_option("--format", help="auto: a table on a terminal, else JSON.")] = Format.AUTO,
    traceback: Traceback = False,
) -> None:
    """Say how good rankings are: nDCG@K and MRR@K, the means over all queries.

    Exits with 3 if some rows have no ranking; they count as 0.
    """
    if (relevances_column is None) == (qrels is None):
        raise typer.BadParameter("give either --relevances-column or --qrels")
    with reported(traceback):
        from jaxcls.cli.judging import judged_by_column, judged_by_qrels, show_metrics

        if qrels is None:
            judged = judged_by_column(ranked, str(relevances_column))
        else:
            judged = judged_by_qrels(ranked, qrels, query_id_column, document_ids_column)
        bad = show_metrics(judged, k or [10], table=None if format is Format.AUTO else format is Format.TABLE)
    if bad:
        raise typer.Exit(EXIT_BAD_ROWS)


def _split(texts: list[str] | None) -> tuple[str, list[str]]:
    if texts is not None and len(texts) == 1:
        raise typer.BadParameter(f"give {_PAIR}: there is a query and no document")
    return (texts[0], texts[1:]) if texts else ("", [])

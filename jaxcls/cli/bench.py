"""`jaxcls bench serve`: load on one server, or on several in turn."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jaxcls.cli.exits import EXIT_BAD_ROWS, reported
from jaxcls.cli.options import Format, Traceback, result_option

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jaxcls.load_test import Plan


def load_option(*names: str, help: str, **extra: Any) -> Any:
    """An option that says what is sent, and when."""
    return typer.Option(*names, help=help, rich_help_panel="Load", **extra)


def text_option(*names: str, help: str, **extra: Any) -> Any:
    """An option that says which texts are sent."""
    return typer.Option(*names, help=help, rich_help_panel="Texts", **extra)


@dataclass(frozen=True)
class Load:
    """What is sent, and when; fields of `Plan`."""

    rate: Annotated[
        list[float] | None, load_option("--rate", min=0.001, help="Requests a second; may be given several times.")
    ] = None
    load: Annotated[
        list[float] | None,
        load_option(
            "--load",
            min=0.01,
            help="Share of what a server can answer, which is measured first; may be given several times. "
            "0.7 if neither is given.",
        ),
    ] = None
    same_rate: Annotated[
        bool, load_option("--same-rate", help="--load is of what the slowest server can answer, for all of them.")
    ] = False
    seconds: Annotated[float, load_option("--seconds", min=0.1, help="How long each run sends.")] = 20.0
    warmup: Annotated[float, load_option("--warmup", min=0, help="Seconds of full load before anything counts.")] = 2.0
    rounds: Annotated[int, load_option("--rounds", min=1, help="How often everything is done, interleaved.")] = 3
    concurrency: Annotated[
        int, load_option("--concurrency", min=1, help="Requests at a time while what a server can answer is measured.")
    ] = 64
    texts_per_request: Annotated[int, load_option("--texts-per-request", min=1, help="Texts in a request.")] = 1
    timeout: Annotated[float, load_option("--timeout", min=0.01, help="Seconds after which a request is given up.")] = (
        30.0
    )
    seed: Annotated[int, load_option("--seed", min=0, help="Of arrivals and texts.")] = 0

    def plan(self, texts: "Callable[[int], Iterator[str]]", bound_ms: float) -> "Plan":
        """The plan; 70% load if nothing else is asked for."""
        from jaxcls.load_test import Plan

        loads = self.load or ([] if self.rate else [0.7])
        if self.same_rate and not loads:
            raise typer.BadParameter("--same-rate goes with --load: a --rate is the same for all servers")
        return Plan(
            texts=texts,
            rates=self.rate or (),
            loads=loads,
            same_rate=self.same_rate,
            seconds=self.seconds,
            warmup_seconds=self.warmup,
            rounds=self.rounds,
            concurrency=self.concurrency,
            texts_per_request=self.texts_per_request,
            timeout=self.timeout,
            bound_ms=bound_ms,
            seed=self.seed,
        )


@dataclass(frozen=True)
class SentTexts:
    """Where texts come from."""

    input: Annotated[
        Path | None, text_option("--input", "-i", help="Texts of a .txt, .jsonl, .csv or .parquet file, in any order.")
    ] = None
    column: Annotated[str | None, text_option("--column", help='Column of the texts; "text" if not given.')] = None
    words: Annotated[
        int | None, text_option("--words", min=1, help="Without a file: half of the texts are shorter; 20.")
    ] = None
    max_words: Annotated[int | None, text_option("--max-words", min=1, help="No text is longer; 120.")] = None

    def stream(self) -> "Callable[[int], Iterator[str]]":
        """The texts of a seed.

        Raises:
            RowsError: the file cannot be read, or a row of it has no text.
        """
        from jaxcls.load_test import random_texts, shuffled

        if self.input is None:
            if self.column is not None:
                raise typer.BadParameter("--column needs --input FILE")
            median, longest = self.words or 20, self.max_words or 120
            return lambda seed: random_texts(seed, median_words=median, max_words=longest)
        if self.words is not None or self.max_words is not None:
            raise typer.BadParameter("--words and --max-words are for texts that are made up, not for --input FILE")
        texts = read_texts(self.input, self.column or "text")
        return lambda seed: shuffled(texts, seed)


def read_texts(path: Path, column: str) -> list[str]:
    """All texts of a file.

    Raises:
        RowsError: it cannot be read, is empty, or a row has no text.
    """
    from jaxcls.rows import RowsError, open_reader, text_columns

    texts: list[str] = []
    for row in open_reader(path, text_columns(column, keep="none")).rows():
        if row.error is not None:
            raise RowsError(f"{path}, row {row.index}: {row.error}")
        texts.append(row.item)
    if not texts:
        raise RowsError(f"{path} holds no texts")
    return texts


def bench_serve(
    *,
    servers: Annotated[
        list[str],
        typer.Argument(metavar="[NAME=]URL...", help="Servers that answer vLLM's /classify; several are compared."),
    ],
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="Model that requests name; else the first of /v1/models."),
    ] = None,
    api_key: Annotated[str | None, typer.Option("--api-key", help="Bearer token of the requests.")] = None,
    load: Load,
    sent: SentTexts,
    goodput_ms: Annotated[
        float, result_option("--goodput-ms", min=0.1, help="An answer is good within so many milliseconds.")
    ] = 100.0,
    output: Annotated[
        Path | None, result_option("--output", "-o", help="Add a JSON line for each run and each summary to this file.")
    ] = None,
    format: Annotated[
        Format, result_option("--format", help="auto: a table on a terminal, else JSON lines.")
    ] = Format.AUTO,
    allow_errors: Annotated[bool, result_option("--allow-errors", help="Exit with 0 even if requests failed.")] = False,
    traceback: Traceback = False,
) -> None:
    """Load servers and say how fast they answer: rates, p50, p95 and p99, goodput, errors by kind.

    Requests arrive at random (Poisson) and do not wait for answers; latencies count from the arrival that was planned.
    Several servers get the same texts and arrivals in turn, in rounds. Exits with 3 if requests failed.
    """
    with reported(traceback):
        from jaxcls.cli.bench_report import run_and_report

        plan = load.plan(sent.stream(), goodput_ms)
        failed = run_and_report(servers, model, api_key, plan, output, table=_is_table(format))
    if failed and not allow_errors:
        raise typer.Exit(EXIT_BAD_ROWS)


def _is_table(format: Format) -> bool:
    from jaxcls.cli.terminal import stdout_is_terminal

    return stdout_is_terminal() if format is Format.AUTO else format is Format.TABLE

"""The command line: score texts and files, list supported architectures, inspect and convert models."""

from typing import Annotated

import typer

from jaxcls.cli.bench import bench_serve
from jaxcls.cli.checkpoints import convert, info, models
from jaxcls.cli.compile import compile
from jaxcls.cli.groups import with_groups
from jaxcls.cli.ranking import evaluate, rerank, score
from jaxcls.cli.scoring import classify, reward, tokens, zero_shot
from jaxcls.cli.serve import serve

app = typer.Typer(
    name="jaxcls",
    help="Classify text with Hugging Face checkpoints on CPU, GPU and TPU.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        import jaxcls

        print(jaxcls.__version__)
        raise typer.Exit


@app.callback()
def _jaxcls(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    del version


for _command in (classify, score, rerank, evaluate, zero_shot, reward, tokens, serve, models, info, convert, compile):
    app.command()(with_groups(_command))

bench = typer.Typer(help="Measure.", no_args_is_help=True)
bench.command("serve")(with_groups(bench_serve))
app.add_typer(bench, name="bench")

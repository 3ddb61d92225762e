"""`jaxcls serve`."""

from typing import Annotated, Any

import typer

from jaxcls.cli.exits import reported
from jaxcls.cli.options import Loading, PromptTemplate, Traceback, WordLabels, model_option


def serve_option(*names: str, help: str, **extra: Any) -> Any:
    """An option of the server."""
    return typer.Option(*names, help=help, rich_help_panel="Server", **extra)


def serve(
    model: Annotated[str, typer.Argument(metavar="[MODEL]", help='Local directory, hub id, or "demo".')] = "demo",
    *,
    loading: Loading,
    labels: WordLabels = None,
    prompt_template: PromptTemplate = None,
    chat_template: Annotated[
        str | None, model_option("--chat-template", help="What pairs and conversations are put into: Jinja, or a file.")
    ] = None,
    host: Annotated[str, serve_option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, serve_option("--port", min=0, max=65535, help="Port; 0: a free one.")] = 8000,
    traceback: Traceback = False,
) -> None:
    """Serve a model over HTTP: /classify and its kin, as vLLM's clients speak them.

    Prints the address when the model is loaded and compiled; until then /health answers 503. SIGTERM ends it when
    all that was asked is answered.
    """
    options = loading.arguments(labels=labels, prompt_template=prompt_template, chat_template=chat_template)
    with reported(traceback):
        from jaxcls.server.settings import Binding, Settings
        from jaxcls.server.startup import serve as run

        def load() -> Any:
            from jaxcls import AsyncLLM

            llm = AsyncLLM(model, max_queue=4096, **options)
            llm.warmup()
            return llm

        settings = Settings(model_names=(model,))
        run(
            load,
            settings,
            Binding(host, port),
            lambda address: print(f"jaxcls serves {model} at {address}", flush=True),
        )

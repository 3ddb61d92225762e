"""`jaxcls serve`."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from jaxcls.cli.exits import reported
from jaxcls.cli.options import Loading, PromptTemplate, Traceback, WordLabels, given, model_option


class LogFormat(StrEnum):
    """How the log appears on standard error."""

    AUTO = "auto"
    JSON = "json"
    TEXT = "text"


class SchedulingPolicy(StrEnum):
    """Which request is first."""

    FCFS = "fcfs"
    PRIORITY = "priority"


def _server(*names: str, help: str, **extra: Any) -> Any:
    return typer.Option(*names, help=help, rich_help_panel="Server", **extra)


def _guard(*names: str, help: str, **extra: Any) -> Any:
    return typer.Option(*names, help=help, rich_help_panel="Access and limits", **extra)


@dataclass(frozen=True)
class Listening:
    """Where and how the server listens."""

    host: Annotated[str, _server("--host", help="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, _server("--port", min=0, max=65535, help="Port; 0: a free one.")] = 8000
    uds: Annotated[Path | None, _server("--uds", help="Unix socket to listen on instead.")] = None
    ssl_certfile: Annotated[Path | None, _server("--ssl-certfile", help="TLS certificate, PEM.")] = None
    ssl_keyfile: Annotated[Path | None, _server("--ssl-keyfile", help="Its key, PEM.")] = None
    ssl_ca_certs: Annotated[
        Path | None, _server("--ssl-ca-certs", help="Clients need a certificate by one of these authorities.")
    ] = None
    root_path: Annotated[str, _server("--root-path", help="Path under which a proxy serves this.")] = ""
    drain_timeout: Annotated[
        int, _server("--drain-timeout", min=0, help="Seconds that requests may take to end after SIGTERM.")
    ] = 30
    log_format: Annotated[LogFormat, _server("--log-format", help="auto: text on a terminal, else JSON lines.")] = (
        LogFormat.AUTO
    )
    log_requests: Annotated[
        bool, _server("--log-requests", "--enable-log-requests", help="Log each request, without its contents.")
    ] = False


@dataclass(frozen=True)
class Access:
    """Who may call, and with what."""

    api_key: Annotated[
        list[str] | None, _guard("--api-key", help="Key that callers need; may be given several times.")
    ] = None
    api_key_file: Annotated[
        Path | None, _guard("--api-key-file", help="File with a key a line: the command line can be seen by others.")
    ] = None
    guard_metrics: Annotated[bool, _guard("--guard-metrics", help="/metrics needs a key, too.")] = False
    allowed_origins: Annotated[
        list[str] | None,
        _guard("--allowed-origins", help='Origin whose pages may call; "*": all; may be repeated. None if not given.'),
    ] = None
    allowed_methods: Annotated[list[str] | None, _guard("--allowed-methods", help="Their methods; all.")] = None
    allowed_headers: Annotated[list[str] | None, _guard("--allowed-headers", help="Their headers; all.")] = None
    allow_credentials: Annotated[bool, _guard("--allow-credentials", help="Pages may send cookies.")] = False
    trust_request_chat_template: Annotated[
        bool, _guard("--trust-request-chat-template", help="Requests may bring a chat template (sandboxed Jinja).")
    ] = False
    disable_fastapi_docs: Annotated[bool, _guard("--disable-fastapi-docs", help="No /openapi.json.")] = False
    max_queue: Annotated[int, _guard("--max-queue", min=1, help="Items that wait and run; more are answered 429.")] = (
        4096
    )
    max_batch: Annotated[int, _guard("--max-batch", min=1, help="Items of a request.")] = 1024
    max_body_bytes: Annotated[int, _guard("--max-body-bytes", min=1, help="Bytes of a request.")] = 16 * 2**20
    max_text_chars: Annotated[int, _guard("--max-text-chars", min=1, help="Characters of a text.")] = 1_000_000
    max_json_depth: Annotated[
        int, _guard("--max-json-depth", min=1, max=200, help="Lists and objects within each other.")
    ] = 16


def serve(
    model: Annotated[str, typer.Argument(metavar="MODEL", help='Local directory, hub id, or "demo".')] = "demo",
    *,
    listening: Listening,
    access: Access,
    loading: Loading,
    served_model_name: Annotated[
        list[str] | None, model_option("--served-model-name", help="Name in requests and answers; the first answers.")
    ] = None,
    labels: WordLabels = None,
    prompt_template: PromptTemplate = None,
    chat_template: Annotated[
        str | None, model_option("--chat-template", help="What pairs and conversations are put into: Jinja, or a file.")
    ] = None,
    scheduling_policy: Annotated[
        SchedulingPolicy, model_option("--scheduling-policy", help="fcfs: the oldest first; priority: as requests say.")
    ] = SchedulingPolicy.FCFS,
    traceback: Traceback = False,
) -> None:
    """Serve a model over HTTP: /classify, /score, /rerank, /v1/embeddings and their kin, as vLLM's clients speak them.

    Prints the address when the model is loaded and compiled; until then /health answers 503. SIGTERM ends it when
    all that was asked is answered.
    """
    templates = given(labels=labels, prompt_template=prompt_template, chat_template=chat_template)
    options = loading.arguments(**templates, scheduling_policy=scheduling_policy.value)
    with reported(traceback):
        run(model, options, served_model_name or [model], listening, access)


def run(model: str, options: dict[str, Any], names: list[str], listening: Listening, access: Access) -> None:
    """Serves until it is told to stop. Raises JaxclsError."""
    _check_installed()
    import sys

    from jaxcls.errors import ConfigError
    from jaxcls.server.logs import set_up_logs
    from jaxcls.server.settings import Binding, Cors, Limits, Settings
    from jaxcls.server.startup import serve as serve_until_stopped

    if access.max_batch > access.max_queue:
        raise ConfigError(f"--max-batch {access.max_batch} never fits --max-queue {access.max_queue}: make it smaller")
    limits = Limits(
        body_bytes=access.max_body_bytes,
        batch=access.max_batch,
        text_chars=access.max_text_chars,
        json_depth=access.max_json_depth,
    )
    settings = Settings(
        model_names=tuple(names),
        api_keys=(*(access.api_key or ()), *_keys(access.api_key_file)),
        guard_metrics=access.guard_metrics,
        limits=limits,
        cors=Cors(
            tuple(access.allowed_origins or ()),
            tuple(access.allowed_methods or ("*",)),
            tuple(access.allowed_headers or ("*",)),
            access.allow_credentials,
        ),
        trust_request_chat_template=access.trust_request_chat_template,
        log_requests=listening.log_requests,
        docs=not access.disable_fastapi_docs,
        root_path=listening.root_path,
    )
    binding = Binding(
        listening.host,
        listening.port,
        listening.uds,
        listening.ssl_certfile,
        listening.ssl_keyfile,
        listening.ssl_ca_certs,
        listening.drain_timeout,
    )

    def load() -> Any:
        from jaxcls import AsyncLLM

        llm = AsyncLLM(model, max_queue=access.max_queue, **options)
        llm.warmup()
        return llm

    text = listening.log_format is LogFormat.TEXT
    set_up_logs(json=not text and (listening.log_format is LogFormat.JSON or not sys.stderr.isatty()))
    serve_until_stopped(
        load, settings, binding, lambda address: print(f"jaxcls serves {names[0]} at {address}", flush=True)
    )


def _check_installed() -> None:
    from jaxcls.errors import ConfigError

    try:
        import fastapi  # noqa: F401
        import orjson  # noqa: F401
        import prometheus_client  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ConfigError(f'serving needs {error.name}: pip install "jaxcls[serve]"') from None


def _keys(file: Path | None) -> list[str]:
    if file is None:
        return []
    from jaxcls.errors import ConfigError

    keys = [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not keys:
        raise ConfigError("--api-key-file: there is no key in it, and without one everybody may call")
    return keys

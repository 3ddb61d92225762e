"""`jaxcls serve`."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jaxcls.cli.exits import reported
from jaxcls.cli.options import Loading, PromptTemplate, Traceback, WordLabels, model_option
from jaxcls.errors import ConfigError

if TYPE_CHECKING:
    from jaxcls.async_llm import AsyncLLM
    from jaxcls.server.settings import Binding, Settings


def _option(panel: str, *names: str, help: str, **extra: Any) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=panel, **extra)


def _listen(*names: str, help: str, **extra: Any) -> Any:
    return _option("Address", *names, help=help, **extra)


def _access(*names: str, help: str, **extra: Any) -> Any:
    return _option("Access", *names, help=help, **extra)


def _limit(*names: str, help: str, **extra: Any) -> Any:
    return _option("Limits", *names, help=help, min=1, **extra)


@dataclass(frozen=True)
class Listening:
    """Where the server listens."""

    host: Annotated[str, _listen("--host", help="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, _listen("--port", min=0, max=65535, help="Port; 0: a free one.")] = 8000
    uds: Annotated[Path | None, _listen("--uds", help="A Unix socket instead of a port.")] = None
    ssl_certfile: Annotated[Path | None, _listen("--ssl-certfile", help="Certificate of TLS, PEM.")] = None
    ssl_keyfile: Annotated[Path | None, _listen("--ssl-keyfile", help="Its key, PEM.")] = None
    ssl_ca_certs: Annotated[
        Path | None, _listen("--ssl-ca-certs", help="Clients must show a certificate of one of these.")
    ] = None
    root_path: Annotated[str, _listen("--root-path", help="Path under which a proxy serves this.")] = ""
    drain_seconds: Annotated[
        int, _listen("--drain-seconds", min=0, help="How long requests may take to end after SIGTERM.")
    ] = 30

    def binding(self) -> "Binding":
        """As the server has it."""
        from jaxcls.server.settings import Binding

        tls = {"certificate": self.ssl_certfile, "key": self.ssl_keyfile, "client_ca": self.ssl_ca_certs}
        return Binding(self.host, self.port, self.uds, **tls, drain_seconds=self.drain_seconds)


@dataclass(frozen=True)
class Serving:
    """Who may ask, what, and what is told."""

    served_model_name: Annotated[
        list[str] | None, _access("--served-model-name", help="Name of the model, in place of MODEL; may be repeated.")
    ] = None
    api_key: Annotated[list[str] | None, _access("--api-key", help="Key that clients must send; may be repeated.")] = (
        None
    )
    api_key_file: Annotated[
        Path | None,
        _access("--api-key-file", help="File with such keys, one a line, which no list of processes shows."),
    ] = None
    guard_metrics: Annotated[bool, _access("--guard-metrics", help="/metrics asks for a key too.")] = False
    allowed_origins: Annotated[
        list[str] | None,
        _access("--allowed-origins", help="Origins whose pages may call (CORS); may be repeated. None may."),
    ] = None
    allowed_methods: Annotated[list[str] | None, _access("--allowed-methods", help="Their methods; all.")] = None
    allowed_headers: Annotated[list[str] | None, _access("--allowed-headers", help="Their headers; all.")] = None
    allow_credentials: Annotated[bool, _access("--allow-credentials", help="Whether they may send cookies.")] = False
    trust_request_chat_template: Annotated[
        bool, _access("--trust-request-chat-template", help="Whether requests may bring a Jinja template.")
    ] = False
    disable_docs: Annotated[
        bool, _access("--disable-docs", "--disable-fastapi-docs", help="There is no /openapi.json.")
    ] = False
    log_requests: Annotated[
        bool,
        _access("--log-requests", "--enable-log-requests", help="Log each request, without its contents."),
    ] = False
    max_queue: Annotated[int, _limit("--max-queue", help="Items that may wait and run; more get 429.")] = 4096
    max_body_bytes: Annotated[int, _limit("--max-body-bytes", help="Size of a request.")] = 16 * 2**20
    max_batch: Annotated[int, _limit("--max-batch", help="Items of a request.")] = 1024
    max_text_chars: Annotated[int, _limit("--max-text-chars", help="Characters of one text.")] = 1_000_000
    max_json_depth: Annotated[int, _limit("--max-json-depth", help="Lists and objects within each other.")] = 16

    def settings(self, model: str, root_path: str) -> "Settings":
        """As the server has it. Raises ConfigError."""
        from jaxcls.server.settings import Cors, Limits, Settings

        return Settings(
            model_names=tuple(self.served_model_name or (model,)),
            api_keys=(*(self.api_key or ()), *_keys_in(self.api_key_file)),
            guard_metrics=self.guard_metrics,
            limits=Limits(
                body_bytes=self.max_body_bytes,
                batch=self.max_batch,
                text_chars=self.max_text_chars,
                json_depth=self.max_json_depth,
            ),
            cors=Cors(
                tuple(self.allowed_origins or ()),
                tuple(self.allowed_methods or ("*",)),
                tuple(self.allowed_headers or ("*",)),
                self.allow_credentials,
            ),
            trust_request_chat_template=self.trust_request_chat_template,
            log_requests=self.log_requests,
            docs=not self.disable_docs,
            root_path=root_path,
        )


def serve(
    model: Annotated[str, typer.Argument(metavar="MODEL", help='Local directory, hub id, or "demo".')] = "demo",
    *,
    loading: Loading,
    labels: WordLabels = None,
    prompt_template: PromptTemplate = None,
    chat_template: Annotated[
        str | None, model_option("--chat-template", help="What pairs and conversations are put into: Jinja, or a file.")
    ] = None,
    scheduling_policy: Annotated[
        str | None, model_option("--scheduling-policy", help="fcfs, or priority: requests may say who goes first.")
    ] = None,
    listening: Listening,
    serving: Serving,
    traceback: Traceback = False,
) -> None:
    """Serve a model over HTTP: /classify and its kin, as vLLM's clients speak them.

    Prints the address when the model is loaded and compiled; until then /health answers 503. SIGTERM ends it when
    all that was asked is answered. Logs are JSON lines on standard error.
    """
    options = loading.arguments(
        labels=labels,
        prompt_template=prompt_template,
        chat_template=chat_template,
        scheduling_policy=scheduling_policy,
    )
    with reported(traceback):
        try:
            from jaxcls.server.logs import log_to_stderr
            from jaxcls.server.startup import serve as run
        except ModuleNotFoundError as error:
            raise ConfigError(f'there is no {error.name}: jaxcls serve needs pip install "jaxcls[serve]"') from None

        def load() -> "AsyncLLM":
            from jaxcls import AsyncLLM

            llm = AsyncLLM(model, max_queue=serving.max_queue, **options)
            llm.warmup()
            return llm

        settings = serving.settings(model, listening.root_path)
        binding = listening.binding()
        log_to_stderr()
        run(load, settings, binding, lambda address: print(f"jaxcls serves {model} at {address}", flush=True))


def _keys_in(path: Path | None) -> Iterable[str]:
    if path is None:
        return ()
    keys = path.read_text(encoding="utf-8").split()
    if not keys:
        raise ConfigError("--api-key-file: the file is empty, and would let everybody in")
    return keys

"""What `jaxcls serve` is told, besides the model."""

import dataclasses
import secrets
from pathlib import Path

from jaxcls.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a request may be at most.

    Attributes:
        body_bytes: of a request's body.
        body_seconds: until all of it is there.
        batch: items (texts, pairs, documents) of a request.
        text_chars: of one text.
        json_depth: lists and objects within each other.
        request_id_chars: of a request's id.
    """

    body_bytes: int = 16 * 2**20
    body_seconds: float = 60.0
    batch: int = 1024
    text_chars: int = 1_000_000
    json_depth: int = 16
    request_id_chars: int = 128

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if value <= 0:
                raise ConfigError(f"the limit {name} must be positive, got {value}")


@dataclasses.dataclass(frozen=True)
class Cors:
    """Which pages of other origins may call: none, unless origins are named."""

    origins: tuple[str, ...] = ()
    methods: tuple[str, ...] = ("*",)
    headers: tuple[str, ...] = ("*",)
    credentials: bool = False


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the app does with requests.

    Attributes:
        model_names: the names that the model is known by; the first is in answers.
        api_keys: those that are accepted; none: everybody may call.
        guard_metrics: whether /metrics asks for a key as well.
        limits: of requests.
        cors: for browsers.
        trust_request_chat_template: whether requests may bring a Jinja template.
        log_requests: whether each request is logged, without its contents.
        docs: whether there are /openapi.json and /docs.
        root_path: the path under which a proxy serves this.
    """

    model_names: tuple[str, ...]
    api_keys: tuple[str, ...] = dataclasses.field(default=(), repr=False)
    guard_metrics: bool = False
    limits: Limits = Limits()
    cors: Cors = Cors()
    trust_request_chat_template: bool = False
    log_requests: bool = False
    docs: bool = True
    root_path: str = ""

    def __post_init__(self) -> None:
        if not self.model_names or not all(self.model_names):
            raise ConfigError("a served model needs a name, and an empty one is none")
        if not all(self.api_keys):
            raise ConfigError(f"an API key is empty; a good one is {secrets.token_urlsafe(32)}")


@dataclasses.dataclass(frozen=True)
class Binding:
    """Where the server listens.

    Attributes:
        host: address, and `port` there; 0: a free one.
        uds: path of a Unix socket instead.
        certificate: PEM file of TLS, with `key` and, where clients need certificates, `client_ca`.
        drain_seconds: how long requests may take to end after SIGTERM.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    uds: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None
    drain_seconds: int = 30

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ConfigError("TLS needs both --ssl-certfile and --ssl-keyfile")
        if self.client_ca is not None and self.certificate is None:
            raise ConfigError("--ssl-ca-certs checks certificates of clients, which needs TLS: give --ssl-certfile too")
        for name in ("certificate", "key", "client_ca"):
            path = getattr(self, name)
            if path is not None and not path.is_file():
                raise ConfigError(f"{name}: there is no file {path}")

    @property
    def scheme(self) -> str:
        """Of its address."""
        return "http" if self.certificate is None else "https"

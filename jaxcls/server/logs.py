"""Structured logs: one JSON object a line, on standard error."""

import logging
import sys
import time
from typing import Any

import orjson

from jaxcls.server.errors import scrubbed

_LOGGERS = ("jaxcls.server", "uvicorn")


class JsonLines(logging.Formatter):
    """A record as JSON: when, how grave, what, and the facts in `extra={"facts": {...}}`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        fields: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **record.__dict__.get("facts", {}),
        }
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return orjson.dumps(fields, default=lambda value: scrubbed(str(value))).decode()


def log_to_stderr() -> None:
    """Sends what the server and uvicorn say to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.propagate = False
        logger.setLevel(logging.INFO if name.startswith("jaxcls") else logging.WARNING)

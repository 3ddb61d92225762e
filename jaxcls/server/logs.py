"""The log on standard error: JSON lines for programs, plain lines for people."""

import logging
import sys
import time
from typing import Any

import orjson


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """One object a line."""
        facts: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            facts["traceback"] = self.formatException(record.exc_info)
        return orjson.dumps(facts, default=str).decode()


class _Plain(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """The event and its facts."""
        facts = " ".join(f"{name}={value}" for name, value in getattr(record, "facts", {}).items())
        return f"{super().format(record)} {facts}".rstrip()


def set_up_logs(*, json: bool) -> None:
    """Sends the server's log, and uvicorn's, to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if json else _Plain("%(asctime)s %(levelname)s %(message)s"))
    for name, level in (("jaxcls.server", logging.INFO), ("uvicorn", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)

"""Exceptions that users meet. All derive from JaxclsError and from the built-in a caller would expect."""

from weights.errors import CheckpointError, MissingHeadError

__all__ = [
    "CheckpointError",
    "ConfigError",
    "JaxclsError",
    "MissingHeadError",
    "NonFiniteError",
    "PromptError",
    "QueueFullError",
]


class JaxclsError(Exception):
    """Base of jaxcls' own errors. Errors of checkpoint files are `CheckpointError`, a ValueError."""


class ConfigError(JaxclsError, ValueError):
    """An argument, override or config.json that cannot be honoured."""


class PromptError(JaxclsError, ValueError):
    """One prompt cannot be classified.

    Attributes:
        index: position of the prompt in the call, None where there is only one.
    """

    def __init__(self, message: str, *, index: int | None = None):
        super().__init__(message if index is None else f"prompt {index}: {message}")
        self.message = message
        self.index = index


class NonFiniteError(PromptError):
    """The model gave NaN or infinity for a prompt."""


class QueueFullError(JaxclsError):
    """Too many calls wait already.

    Attributes:
        retry_after: seconds after which there may be room.
    """

    def __init__(self, message: str, *, retry_after: int):
        super().__init__(message)
        self.retry_after = retry_after

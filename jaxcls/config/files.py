"""Small JSON files of a checkpoint."""

import json
from pathlib import Path
from typing import Any

from jaxcls.errors import ConfigError


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; {} if there is no such file.

    Raises:
        ConfigError: the file is not a JSON object.
    """
    values = _read(path, {})
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold a JSON object, got {type(values).__name__}")
    return values


def read_objects(path: Path) -> list[dict[str, Any]]:
    """A JSON list of objects; [] if there is no such file.

    Raises:
        ConfigError: the file is not a list of objects.
    """
    values = _read(path, [])
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise ConfigError(f"{path} must be a list of objects")
    return values


def _read(path: Path, default: Any) -> Any:
    if not path.is_file():
        return default
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid JSON: {error}") from None

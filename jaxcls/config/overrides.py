"""hf_overrides: changes to config.json before it is read."""

import copy
from collections.abc import Mapping
from typing import Any

from jaxcls.config.engine import HfOverrides
from jaxcls.errors import ConfigError


class OverridableConfig(dict[str, Any]):
    """A config dictionary whose keys are attributes too, so that functions written for transformers' configs work."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"config.json has no {name!r}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        try:
            del self[name]
        except KeyError:
            raise AttributeError(f"config.json has no {name!r}") from None


def apply_overrides(values: Mapping[str, Any], overrides: HfOverrides | None) -> dict[str, Any]:
    """config.json with the overrides applied; nested dicts are merged, None drops a key.

    Raises:
        ConfigError: a function that does not return a config.
    """
    result = copy.deepcopy(dict(values))
    if overrides is None:
        return result
    if not isinstance(overrides, dict):
        changed = overrides(_overridable(result))
        if not isinstance(changed, Mapping):
            raise ConfigError(f"hf_overrides must return the config, got {type(changed).__name__}")
        result = dict(changed)
        _follow_labels(result, values, {k: v for k, v in result.items() if k not in values or values[k] != v})
        return result
    _merge(result, overrides)
    _follow_labels(result, values, overrides)
    return result


def _overridable(values: Mapping[str, Any]) -> OverridableConfig:
    return OverridableConfig({k: _overridable(v) if isinstance(v, dict) else v for k, v in values.items()})


def _merge(into: dict[str, Any], changes: Mapping[str, Any]) -> None:
    for key, value in changes.items():
        # Label maps are replaced whole: merging old and new class names makes no sense.
        if isinstance(value, Mapping) and isinstance(into.get(key), dict) and key not in ("id2label", "label2id"):
            _merge(into[key], value)
        elif value is None:
            into.pop(key, None)
        else:
            into[key] = copy.deepcopy(value)


def _follow_labels(result: dict[str, Any], values: Mapping[str, Any], overrides: Mapping[str, Any]) -> None:
    """What the new value implies for the old ones beside it, as in transformers."""
    if "id2label" in overrides:
        for key in ("label2id", "num_labels"):
            if key not in overrides:
                result.pop(key, None)
    elif overrides.get("num_labels") is not None and len(values.get("id2label") or ()) != overrides["num_labels"]:
        result.pop("id2label", None)
        result.pop("label2id", None)
    elif overrides.get("label2id"):
        unknown = set(overrides["label2id"]) - set((values.get("id2label") or {}).values())
        if unknown:
            raise ConfigError(
                f"hf_overrides: label2id has unknown labels {sorted(unknown)}; rename classes through id2label"
            )

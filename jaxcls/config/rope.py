"""Rotary settings from config.json: `rope_parameters` (transformers 5) or `rope_theta` + `rope_scaling` (4)."""

import math
from collections.abc import Mapping
from typing import Any

from jaxcls.config.hf import HfView
from jaxcls.errors import ConfigError
from jaxcls.layers.rope import RopeConfig

_DEFAULT_THETA = 10000.0
_TYPES = ("default", "linear", "dynamic", "llama3", "yarn")


def rope_config(hf: HfView, *, head_dim: int, max_len: int, default_theta: float = _DEFAULT_THETA) -> RopeConfig:
    """Reads the rotary settings, in either form.

    Args:
        hf: the config being read.
        head_dim: width H of an attention head.
        max_len: the config's max_position_embeddings.
        default_theta: of the architecture's config class.

    Raises:
        ConfigError: an unknown rope type, a missing or an unknown parameter.
    """
    scaling = hf.raw("rope_scaling", None)
    parameters = dict(scaling or hf.raw("rope_parameters", None) or {})
    theta = hf.float("rope_theta", default_theta)
    parameters.setdefault("rope_theta", theta)
    return rope_from(hf, parameters, head_dim=head_dim, max_len=max_len)


def rope_from(hf: HfView, values: Mapping[str, Any], *, head_dim: int, max_len: int) -> RopeConfig:
    """One dictionary of `rope_parameters`, theta within it; raises as `rope_config` does."""
    parameters = dict(values)
    rope_type = parameters.pop("rope_type", None) or parameters.get("type", "default")
    parameters.pop("type", None)
    if rope_type not in _TYPES:
        raise hf.error("rope_type", rope_type, f"known are {', '.join(_TYPES)}")
    if head_dim % 2:
        raise hf.error("head_dim", head_dim, "rotary embeddings need an even head width")
    partial = parameters.pop("partial_rotary_factor", hf.raw("partial_rotary_factor", None))
    if partial not in (None, 1, 1.0):
        raise hf.error("partial_rotary_factor", partial, "this architecture rotates whole heads")
    reader = _Parameters(hf, rope_type, parameters)
    rope = _read(reader, rope_type, head_dim, hf.raw("original_max_position_embeddings", None), max_len)
    reader.finish()
    return rope


class _Parameters:
    """The rope dictionary, with the same bookkeeping as HfView."""

    def __init__(self, hf: HfView, rope_type: str, values: dict[str, Any]):
        self.hf, self.rope_type, self.values = hf, rope_type, values

    def take(self, key: str, default: float | None = None) -> float:
        value = self.values.pop(key, None)
        if value is None:
            if default is None:
                raise ConfigError(f"{self.hf.source}: rope type {self.rope_type!r} needs {key!r}")
            return default
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.hf.error(key, value, "expected a number")
        return value

    def finish(self) -> None:
        if self.values:
            raise self.hf.error("rope_parameters", self.values, f"unknown for rope type {self.rope_type!r}")


def _read(take: _Parameters, rope_type: str, head_dim: int, outer_original: int | None, max_len: int) -> RopeConfig:
    theta = float(take.take("rope_theta"))
    match rope_type:
        case "linear":
            return RopeConfig(head_dim, theta, "linear", factor=float(take.take("factor")))
        case "dynamic":
            # transformers scales from max_position_embeddings and only reads the other key for its cache.
            take.values.pop("original_max_position_embeddings", None)
            return RopeConfig(head_dim, theta, "dynamic", factor=float(take.take("factor")), original_max_len=max_len)
        case "llama3" | "yarn":
            # A length outside the dictionary has priority over the one inside, as in transformers.
            inside = take.take("original_max_position_embeddings", max_len)
            original = int(inside if outer_original is None else outer_original)
            return (_llama3 if rope_type == "llama3" else _yarn)(take, head_dim, theta, original, max_len)
        case _:
            # Configs keep parameters of the scaling that they switched off.
            for key in ("factor", "original_max_position_embeddings"):
                take.values.pop(key, None)
            return RopeConfig(head_dim, theta)


def _llama3(take: _Parameters, head_dim: int, theta: float, original: int, max_len: int) -> RopeConfig:
    del max_len
    return RopeConfig(
        head_dim,
        theta,
        "llama3",
        factor=float(take.take("factor")),
        original_max_len=original,
        low_freq_factor=float(take.take("low_freq_factor")),
        high_freq_factor=float(take.take("high_freq_factor")),
    )


def _yarn(take: _Parameters, head_dim: int, theta: float, original: int, max_len: int) -> RopeConfig:
    factor = float(take.take("factor", max_len / original))
    mscale, mscale_all = take.take("mscale", 0.0), take.take("mscale_all_dim", 0.0)

    def magnitude(weight: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0

    inferred = magnitude(mscale) / magnitude(mscale_all) if mscale and mscale_all else magnitude(1.0)
    truncate = take.values.pop("truncate", True)
    return RopeConfig(
        head_dim,
        theta,
        "yarn",
        factor=factor,
        original_max_len=original,
        beta_fast=float(take.take("beta_fast", 32.0)),
        beta_slow=float(take.take("beta_slow", 1.0)),
        attention_factor=float(take.take("attention_factor", inferred)),
        truncate=bool(truncate),
    )

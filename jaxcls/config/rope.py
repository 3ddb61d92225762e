"""Rotary settings from config.json: `rope_parameters` (transformers 5) or `rope_theta` + `rope_scaling` (4)."""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from jaxcls.config.hf import HfView
from jaxcls.errors import ConfigError
from jaxcls.layers.rope import RopeConfig

_DEFAULT_THETA = 10000.0
_NO_ALIASES: Mapping[str, str] = MappingProxyType({})
_TYPES = ("default", "linear", "dynamic", "llama3", "yarn", "longrope", "proportional")


def rope_config(
    hf: HfView,
    *,
    head_dim: int,
    max_len: int,
    default_theta: float = _DEFAULT_THETA,
    partial: bool = False,
    original_len: int | None = None,
    aliases: Mapping[str, str] = _NO_ALIASES,
) -> RopeConfig:
    """Reads the rotary settings, in either form.

    Args:
        hf: the config being read.
        head_dim: width H of an attention head.
        max_len: the config's max_position_embeddings.
        default_theta: of the architecture's config class.
        partial: whether `partial_rotary_factor` leaves a part of every head unrotated.
        original_len: the config class's original_max_position_embeddings, if it has that key.
        aliases: the architecture's other names of rope types.

    Raises:
        ConfigError: an unknown rope type, a missing or an unknown parameter.
    """
    scaling = hf.raw("rope_scaling", None)
    parameters = dict(scaling or hf.raw("rope_parameters", None) or {})
    parameters.setdefault("rope_theta", hf.float("rope_theta", default_theta))
    fraction = hf.raw("partial_rotary_factor", None)
    if fraction is not None:
        parameters.setdefault("partial_rotary_factor", fraction)
    original = hf.raw("original_max_position_embeddings", original_len)
    return _read(_Parameters(hf, parameters, aliases), head_dim, partial, original, max_len)


def nested_rope_config(
    hf: HfView, parameters: Mapping[str, Any], *, head_dim: int, max_len: int, theta: float
) -> RopeConfig:
    """Reads the rotary settings of one kind of layer from its own dictionary; `theta` is for one that has none."""
    return _read(_Parameters(hf, {"rope_theta": theta, **parameters}, _NO_ALIASES), head_dim, False, None, max_len)


class _Parameters:
    """The rope dictionary, with the same bookkeeping as HfView."""

    def __init__(self, hf: HfView, values: dict[str, Any], aliases: Mapping[str, str]):
        self.hf, self.values = hf, values
        found = values.pop("rope_type", None) or values.get("type") or "default"
        values.pop("type", None)
        self.rope_type = aliases.get(found, found)
        if self.rope_type not in _TYPES:
            raise hf.error("rope_type", found, f"known are {', '.join((*_TYPES, *aliases))}")

    def take(self, key: str, default: float | None = None) -> float:
        value = self.values.pop(key, None)
        if value is None:
            if default is None:
                raise ConfigError(f"{self.hf.source}: rope type {self.rope_type!r} needs {key!r}")
            return default
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.hf.error(key, value, "expected a number")
        return value

    def take_list(self, key: str, length: int) -> tuple[float, ...]:
        values = self.values.pop(key, None)
        if values is None:
            raise ConfigError(f"{self.hf.source}: rope type {self.rope_type!r} needs {key!r}")
        numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
        if len(numbers) != length or len(values) != length:
            raise self.hf.error(key, values, f"expected {length} numbers, one for every two rotated dimensions")
        return tuple(map(float, numbers))

    def finish(self) -> None:
        if self.values:
            raise self.hf.error("rope_parameters", self.values, f"unknown for rope type {self.rope_type!r}")


def _read(take: _Parameters, head_dim: int, partial: bool, outer_original: int | None, max_len: int) -> RopeConfig:
    fraction = float(take.take("partial_rotary_factor", 1.0))
    if take.rope_type == "proportional":
        rope = _proportional(take, head_dim, fraction)
    elif fraction == 1 or partial:
        rope = _read_type(take, int(head_dim * fraction), outer_original, max_len)
    else:
        raise take.hf.error("partial_rotary_factor", fraction, "this architecture rotates whole heads")
    if rope.head_dim % 2:
        raise take.hf.error("head_dim", head_dim, "rotary embeddings need an even width")
    take.finish()
    return rope


def _read_type(take: _Parameters, head_dim: int, outer_original: int | None, max_len: int) -> RopeConfig:
    theta = float(take.take("rope_theta"))
    match take.rope_type:
        case "linear":
            return RopeConfig(head_dim, theta, "linear", factor=float(take.take("factor")))
        case "dynamic":
            # transformers scales from max_position_embeddings and only reads the other key for its cache.
            take.values.pop("original_max_position_embeddings", None)
            return RopeConfig(head_dim, theta, "dynamic", factor=float(take.take("factor")), original_max_len=max_len)
        case "llama3" | "yarn" | "longrope":
            # A length outside the dictionary has priority over the one inside, as in transformers.
            inside = take.take("original_max_position_embeddings", max_len)
            original = int(inside if outer_original is None else outer_original)
            read = {"llama3": _llama3, "yarn": _yarn, "longrope": _longrope}[take.rope_type]
            return read(take, head_dim, theta, original, max_len)
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


def _longrope(take: _Parameters, head_dim: int, theta: float, original: int, max_len: int) -> RopeConfig:
    factor = float(take.take("factor", max_len / original))
    inferred = 1.0 if factor <= 1 else math.sqrt(1 + math.log(factor) / math.log(original))
    return RopeConfig(
        head_dim,
        theta,
        "longrope",
        factor=factor,
        original_max_len=original,
        attention_factor=float(take.take("attention_factor", inferred)),
        short_factors=take.take_list("short_factor", head_dim // 2),
        long_factors=take.take_list("long_factor", head_dim // 2),
    )


def _proportional(take: _Parameters, head_dim: int, fraction: float) -> RopeConfig:
    """Only a fraction of the frequencies turns; they are those of the whole head, unlike in a partly rotated one."""
    theta, factor = float(take.take("rope_theta")), float(take.take("factor", 1.0))
    return RopeConfig(head_dim, theta, "proportional", factor=factor, fraction=fraction)

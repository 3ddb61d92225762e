"""Rotary settings, in the form of transformers 4 (rope_theta, rope_scaling) and of 5 (rope_parameters).

The frequencies were recorded from transformers 5.23's LlamaRotaryEmbedding (torch 2.13, CPU, float32) for heads of 16
and max_position_embeddings = 2048.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from jaxcls.config.hf import HfView
from jaxcls.config.rope import rope_config
from jaxcls.errors import ConfigError
from jaxcls.layers.rope import RopeConfig, cos_sin, inverse_frequencies

HEAD_DIM = 16
MAX_LEN = 2048
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 512}
LENGTH = "original_max_position_embeddings"


def frequencies(text: str) -> list[float]:
    return [float(value) for value in text.split()]


PLAIN = frequencies("1 .316227764 .100000001 .0316227786 .00999999978 .00316227786 .00100000005 3.16227786e-4")
YARN_4 = frequencies("1 .25693506 .0625 .0138349654 .00249999994 7.90569466e-4 2.50000012e-4 7.90569466e-5")
# theta, scaling, keys beside them, inverse frequencies, factor on cos and sin
RECORDED: dict[str, tuple[float | None, dict[str, Any] | None, dict[str, Any], list[float], float]] = {
    "default": (None, None, {}, PLAIN, 1.0),
    "theta": (
        1e6,
        None,
        {},
        frequencies("1 .177827939 .0316227786 .00562341325 .00100000005 1.7782794e-4 3.16227743e-5 5.62341347e-6"),
        1.0,
    ),
    "linear": (
        None,
        {"rope_type": "linear", "factor": 2.5},
        {},
        frequencies(
            ".400000006 .1264911 .0399999991 .0126491114 .00399999972 .00126491114 4.00000019e-4 1.26491112e-4"
        ),
        1.0,
    ),
    "llama3": (
        5e5,
        {**LLAMA3, LENGTH: 512},
        {},
        frequencies("1 .193922758 .0273441337 9.11583134e-4 1.76776681e-4 3.42810235e-5 6.64786967e-6 1.28917316e-6"),
        1.0,
    ),
    "llama3, length beside": (
        None,
        {**LLAMA3, LENGTH: 512},
        {LENGTH: 256},
        frequencies("1 .316227764 .100000001 .00661310693 .00124999997 3.95284733e-4 1.25000006e-4 3.95284733e-5"),
        1.0,
    ),
    "llama3, no length": (
        None,
        LLAMA3,
        {},
        frequencies("1 .316227764 .100000001 .0316227786 .00784018822 4.23639314e-4 1.25000006e-4 3.95284733e-5"),
        1.0,
    ),
    "yarn": (None, YARN, {}, YARN_4, 1.138629436111989),
    "yarn, null factor": (
        None,
        {**YARN, "factor": None, LENGTH: 256},
        {},
        frequencies("1 .247052938 .0562500022 .01087033 .00124999997 3.95284733e-4 1.25000006e-4 3.95284733e-5"),
        1.2079441541679836,
    ),
    "yarn, attention_factor": (None, {**YARN, "attention_factor": 1.5}, {}, YARN_4, 1.5),
    "yarn, both mscales": (None, {**YARN, "mscale": 0.707, "mscale_all_dim": 0.5}, {}, YARN_4, 1.0268361529030026),
    "yarn, one mscale": (None, {**YARN, "mscale": 0.707}, {}, YARN_4, 1.138629436111989),
    "yarn, betas": (
        None,
        {**YARN, "beta_fast": 16, "beta_slow": 2},
        {},
        frequencies("1 .316227764 .0749999955 .0158113893 .00249999994 7.90569466e-4 2.50000012e-4 7.90569466e-5"),
        1.138629436111989,
    ),
    # So short an original length that both ends of the ramp are dimension 0.
    "yarn, no ramp": (
        None,
        {**YARN, LENGTH: 6},
        {},
        frequencies("1 .079056941 .0250000004 .00790569466 .00249999994 7.90569466e-4 2.50000012e-4 7.90569466e-5"),
        1.138629436111989,
    ),
    "yarn, not truncated": (
        None,
        {**YARN, "truncate": False},
        {},
        frequencies("1 .301406473 .0703986362 .0143833589 .00249999994 7.90569466e-4 2.50000012e-4 7.90569466e-5"),
        1.138629436111989,
    ),
}


def read(values: dict[str, Any], head_dim: int = HEAD_DIM) -> RopeConfig:
    view = HfView(values)
    rope = rope_config(view, head_dim=head_dim, max_len=MAX_LEN)
    view.finish("X")
    return rope


def version4(theta: float | None, scaling: dict[str, Any] | None, beside: dict[str, Any]) -> dict[str, Any]:
    return {**beside, "rope_theta": theta, "rope_scaling": scaling}


def version4_type(theta: float | None, scaling: dict[str, Any] | None, beside: dict[str, Any]) -> dict[str, Any]:
    """The oldest files call rope_type `type`."""
    older = None if scaling is None else {"type" if k == "rope_type" else k: v for k, v in scaling.items()}
    return version4(theta, older, beside)


def version5(theta: float | None, scaling: dict[str, Any] | None, beside: dict[str, Any]) -> dict[str, Any]:
    inside = {} if theta is None else {"rope_theta": theta}
    return {**beside, "rope_parameters": {"rope_type": "default", **(scaling or {}), **inside}}


@pytest.mark.parametrize("form", [version4, version4_type, version5])
@pytest.mark.parametrize("case", RECORDED)
def test_frequencies_are_those_of_transformers(case: str, form: Any) -> None:
    theta, scaling, beside, expected, factor = RECORDED[case]
    rope = read(form(theta, scaling, beside))
    # float32 powers differ in the last digits between libraries.
    np.testing.assert_allclose(inverse_frequencies(rope), expected, rtol=1e-6)
    assert rope.attention_factor == pytest.approx(factor, rel=1e-12)


def test_the_attention_factor_scales_cos_and_sin() -> None:
    positions, lengths = jnp.array([0, 3], jnp.int32), jnp.array([4, 4], jnp.int32)
    cos, sin = cos_sin(read({"rope_parameters": {**YARN, "attention_factor": 1.5}}), positions, lengths)
    angles = np.array([[0.0], [3.0]]) * np.array(YARN_4)
    np.testing.assert_allclose(cos, 1.5 * np.cos(angles), atol=1e-6)
    np.testing.assert_allclose(sin, 1.5 * np.sin(angles), atol=1e-6)


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (1024, PLAIN),
        (2048, PLAIN),
        (
            3000,
            frequencies(
                "1 .27914229 .0779204145 .0217508841 .00607159175 .00169483793 4.73100983e-4 1.32062487e-4",
            ),
        ),
    ],
)
def test_dynamic_frequencies_follow_the_length_of_the_sequence(length: int, expected: list[float]) -> None:
    rope = read({"rope_scaling": {"rope_type": "dynamic", "factor": 3.0, LENGTH: 77}})
    # A batch mate of another length must not matter.
    positions, lengths = jnp.array([1, 5, 1], jnp.int32), jnp.array([length, length, 5000], jnp.int32)
    cos, sin = cos_sin(rope, positions, lengths)
    angles = np.array([[1.0], [5.0]]) * np.array(expected)
    np.testing.assert_allclose(cos[:2], np.cos(angles), atol=2e-6)
    np.testing.assert_allclose(sin[:2], np.sin(angles), atol=2e-6)
    assert not np.allclose(sin[2], sin[0], atol=1e-3)


@pytest.mark.parametrize("form", [version4, version5])
@pytest.mark.parametrize(
    ("scaling", "missing"),
    [
        ({"rope_type": "linear"}, "factor"),
        ({"rope_type": "dynamic"}, "factor"),
        ({k: v for k, v in LLAMA3.items() if k != "factor"}, "factor"),
        ({k: v for k, v in LLAMA3.items() if k != "low_freq_factor"}, "low_freq_factor"),
        ({k: v for k, v in LLAMA3.items() if k != "high_freq_factor"}, "high_freq_factor"),
        ({**LLAMA3, "high_freq_factor": None}, "high_freq_factor"),
    ],
    ids=str,
)
def test_a_missing_parameter_is_named(form: Any, scaling: dict[str, Any], missing: str) -> None:
    with pytest.raises(ConfigError, match=f"rope type '{scaling['rope_type']}' needs '{missing}'"):
        read(form(1e4, scaling, {}))


@pytest.mark.parametrize("form", [version4, version5])
@pytest.mark.parametrize(
    "scaling",
    [{"rope_type": "linear", "factor": 2.0}, LLAMA3, YARN, {"rope_type": "dynamic", "factor": 2.0}, {}],
    ids=lambda s: s.get("rope_type", "default"),
)
def test_an_unknown_parameter_is_named(form: Any, scaling: dict[str, Any]) -> None:
    values = form(1e4, {"rope_type": "default", **scaling, "mrope_section": [1, 2, 3]}, {})
    with pytest.raises(ConfigError, match=r"mrope_section.*unknown for rope type"):
        read(values)


def test_an_unknown_type_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"rope_type = 'su'.*default, linear, dynamic, llama3, yarn, longrope"):
        read({"rope_scaling": {"type": "su", "factor": 4.0}})


@pytest.mark.parametrize(
    "values",
    [
        {"partial_rotary_factor": 0.5},
        {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.25}},
        {"rope_scaling": {"rope_type": "linear", "factor": 2.0, "partial_rotary_factor": 0.5}},
    ],
    ids=str,
)
def test_partly_rotated_heads_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"partial_rotary_factor = 0\..*whole heads"):
        read(values)


@pytest.mark.parametrize("partial", [1, 1.0, None])
def test_wholly_rotated_heads_may_say_so(partial: float | None) -> None:
    assert read({"partial_rotary_factor": partial}) == read({})
    assert read({"rope_parameters": {"rope_type": "default", "partial_rotary_factor": partial}}) == read({})


@pytest.mark.parametrize("value", ["2.0", True, [2.0]])
def test_a_parameter_must_be_a_number(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"factor = .*expected a number"):
        read({"rope_scaling": {"rope_type": "linear", "factor": value}})


def test_leftovers_of_a_scaling_that_is_off_are_accepted() -> None:
    assert read({"rope_scaling": {"rope_type": "default", "factor": 4.0, LENGTH: 512}}) == read({})


def test_a_theta_inside_wins_over_one_beside() -> None:
    assert read({"rope_theta": 5e5, "rope_parameters": {"rope_type": "default", "rope_theta": 2e4}}).theta == 2e4
    assert read({"rope_theta": 5e5, "rope_parameters": {"rope_type": "default"}}).theta == 5e5


def test_odd_heads_cannot_be_rotated() -> None:
    with pytest.raises(ConfigError, match="head_dim = 15"):
        read({}, head_dim=15)

"""PoolerConfig and PoolingParams: aliases, conflicts, and parameters that vLLM once had."""

import math
from typing import Any

import pytest
from pydantic import ValidationError

from jaxcls import PoolerConfig, PoolingParams
from jaxcls.config.engine import engine_config
from jaxcls.errors import ConfigError


@pytest.mark.parametrize(
    ("arguments", "mean", "sigma"),
    [
        ({}, 0.0, 1.0),
        ({"logit_mean": 2.65}, 2.65, 1.0),
        ({"logit_bias": 2.65}, 2.65, 1.0),
        ({"logit_mean": 0.0}, 0.0, 1.0),
        ({"logit_sigma": 4.0}, 0.0, 4.0),
        ({"logit_scale": 0.25}, 0.0, 4.0),
        ({"logit_sigma": -2.0}, 0.0, -2.0),
        ({"logit_bias": -1.0, "logit_scale": 0.5}, -1.0, 2.0),
        ({"logit_mean": 3, "logit_scale": 2}, 3.0, 0.5),
    ],
    ids=str,
)
def test_calibration_by_both_names(arguments: dict[str, Any], mean: float, sigma: float) -> None:
    config = PoolerConfig(**arguments)
    assert (config.mean, config.sigma or 1.0) == (mean, sigma)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"logit_mean": 1.0, "logit_bias": 1.0}, "logit_bias is the older name of logit_mean"),
        ({"logit_sigma": 1.0, "logit_scale": 1.0}, "logit_scale is 1 / logit_sigma"),
        ({"logit_sigma": 0.0}, "must not be 0"),
        ({"logit_scale": 0}, "must not be 0"),
        ({"logit_mean": math.nan}, "logit_mean"),
        ({"logit_sigma": math.inf}, "logit_sigma"),
        ({"logit_bias": -math.inf}, "logit_bias"),
        ({"logit_scale": math.nan}, "logit_scale"),
        ({"pooling_type": "FIRST"}, "pooling_type"),
        ({"pooling_type": "cls"}, "pooling_type"),
        ({"dimensions": 8}, "dimensions"),
        ({"use_activation": "perhaps"}, "use_activation"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_by_name(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        PoolerConfig(**arguments)


@pytest.mark.parametrize("kind", [PoolerConfig, PoolingParams])
@pytest.mark.parametrize("removed", ["softmax", "activation", "normalize"])
def test_removed_parameters_name_their_successor(kind: Any, removed: str) -> None:
    with pytest.raises(ValueError, match=f"{kind.__name__}: parameter `{removed}` was removed; use `use_activation`"):
        kind(**{removed: True})


@pytest.mark.parametrize("kind", [PoolerConfig, PoolingParams])
def test_both_are_frozen(kind: Any) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        kind().use_activation = True


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"dimensions": 0}, "dimensions"),
        ({"step_tag_id": 1}, "step_tag_id"),
        ({"use_activation": "perhaps"}, "use_activation"),
        ({"truncate_prompt_tokens": -2}, "truncate_prompt_tokens"),
        ({"truncate_prompt_tokens": "all"}, "truncate_prompt_tokens"),
        ({"truncate_prompt_tokens": 1.5}, "truncate_prompt_tokens"),
    ],
    ids=str,
)
def test_params_refuse_what_they_do_not_know(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        PoolingParams(**arguments)


def test_params_say_nothing_by_default() -> None:
    params = PoolingParams()
    assert (params.use_activation, params.truncate_prompt_tokens) == (None, None)
    assert PoolingParams(use_activation=False, truncate_prompt_tokens=-1).use_activation is False


def test_a_dict_makes_a_pooler_config_and_its_errors_are_config_errors() -> None:
    config = engine_config("m", {"pooler_config": {"logit_bias": 1.0, "pooling_type": "MEAN"}}).pooler_config
    assert config is not None
    assert (config.mean, config.pooling_type) == (1.0, "MEAN")
    for wrong, named in (({"softmax": True}, "use_activation"), ({"logit_sigma": 0}, "must not be 0")):
        with pytest.raises(ConfigError, match=named):
            engine_config("m", {"pooler_config": wrong})

"""The arguments of LLM."""

import inspect
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from pydantic import ValidationError

from jaxcls import LLM, AsyncLLM, PoolerConfig
from jaxcls.config.engine import EngineConfig, EngineOptions, engine_config
from jaxcls.errors import ConfigError


def test_options_are_the_fields() -> None:
    assert set(EngineOptions.__annotations__) == set(EngineConfig.model_fields) - {"model"}


def test_options_have_the_types_of_the_fields() -> None:
    options, fields = get_type_hints(EngineOptions), get_type_hints(EngineConfig)
    # A dict becomes a PoolerConfig; everything else arrives as it was given.
    assert options.pop("pooler_config") == fields["pooler_config"] | dict[str, Any]
    assert options == {name: fields[name] for name in options}


def test_every_argument_is_documented() -> None:
    documentation = inspect.getdoc(EngineConfig) or ""
    assert [name for name in EngineConfig.model_fields if f"\n    {name}: " not in documentation] == []


def test_defaults_need_nothing_but_a_model() -> None:
    config = engine_config("some/model", {})
    assert (config.model, config.dtype, config.trust_remote_code, config.head_init) == (
        "some/model",
        "auto",
        False,
        None,
    )
    assert engine_config(Path("some/model"), {}).model == Path("some/model")


def test_it_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        engine_config("m", {}).seed = 1  # pyright: ignore[reportAttributeAccessIssue]


def test_a_pooler_config_is_kept_as_it_is() -> None:
    pooler = PoolerConfig(pooling_type="LAST")
    assert engine_config("m", {"pooler_config": pooler}).pooler_config == pooler


@pytest.mark.parametrize("overrides", [{"num_labels": 3}, lambda config: config, None])
def test_overrides_may_be_a_dict_or_a_function(overrides: Any) -> None:
    assert engine_config("m", {"hf_overrides": overrides}).hf_overrides == overrides


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("gpu_memory_utilization", "nothing is reserved"),
        ("cpu_offload_gb", "one device"),
        ("swap_space", "on the device"),
        ("enforce_eager", "compiled"),
        ("compilation_config", "compilation_cache_dir"),
        ("disable_log_stats", "LLM.stats"),
        ("tokenizer_mode", "fast"),
        ("task", "LLM classifies"),
        ("override_pooler_config", "pooler_config"),
        ("tensor_parallel_size", "one device"),
        ("num_gpu_blocks_override", "kv_cache_tokens"),
        ("enable_lora", "merged"),
    ],
)
def test_vllm_arguments_without_meaning_say_why(name: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}: .*{reason}"):
        engine_config("m", {name: 1})


def test_unknown_arguments_are_all_named() -> None:
    with pytest.raises(ConfigError, match=r"max_seq: no such argument; swap_space: .*; tempreture: no such argument"):
        engine_config("m", {"tempreture": 1, "max_seq": 2, "swap_space": 3, "seed": 4})


@pytest.mark.parametrize("llm", [LLM, AsyncLLM])
def test_both_front_ends_check_before_they_look_for_the_model(llm: Any) -> None:
    with pytest.raises(ConfigError, match="no_such_argument"):
        llm("/no/such/model", no_such_argument=1)


def test_remote_code_is_never_run() -> None:
    with pytest.raises(ConfigError, match=r"trust_remote_code=True.*never runs code"):
        engine_config("m", {"trust_remote_code": True})
    assert engine_config("m", {"trust_remote_code": False}).trust_remote_code is False


@pytest.mark.parametrize("dtype", ["auto", "float32", "float", "bfloat16", "float16", "half"])
def test_dtype_names(dtype: Any) -> None:
    assert engine_config("m", {"dtype": dtype}).dtype == dtype


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"dtype": "fp16"}, "dtype.*'bfloat16'.*got 'fp16'"),
        ({"dtype": "int8"}, "dtype.*got 'int8'"),
        ({"dtype": None}, "dtype.*got None"),
        ({"max_model_len": 0}, "max_model_len.*got 0"),
        ({"max_model_len": "long"}, "max_model_len.*got 'long'"),
        ({"max_num_seqs": 0}, "max_num_seqs.*got 0"),
        ({"max_num_batched_tokens": 15}, "max_num_batched_tokens.*got 15"),
        ({"runner": "generate"}, "runner.*'pooling'.*got 'generate'"),
        ({"convert": "generate"}, "convert.*'classify'.*got 'generate'"),
        ({"load_format": "pt"}, "load_format.*'safetensors'.*got 'pt'"),
        ({"head_init": "ones"}, "head_init.*'zeros'.*got 'ones'"),
        ({"layer_layout": "scan"}, "layer_layout.*'stacked'.*got 'scan'"),
        ({"hf_overrides": 3}, "hf_overrides.*got 3"),
        ({"pooler_config": "MEAN"}, "pooler_config.*got 'MEAN'"),
        ({"pooler_config": {"pooling_type": "MAX"}}, "PoolerConfig: pooling_type.*got 'MAX'"),
        ({"compilation_cache_dir": True}, "compilation_cache_dir"),
        ({"weights_cache_dir": 1.5}, "weights_cache_dir"),
        ({"seed": "lucky"}, "seed.*got 'lucky'"),
        ({"max_num_seqs": 0, "seed": "lucky"}, "max_num_seqs.*seed"),
    ],
    ids=str,
)
def test_wrong_values_are_named_with_what_was_given(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        engine_config("m", options)

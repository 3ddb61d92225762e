"""EngineConfig: the arguments of `LLM`, checked in one place."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypedDict, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from jaxcls.config.pooler import PoolerConfig, problems
from jaxcls.errors import ConfigError

HfOverrides = dict[str, Any] | Callable[[Any], Any]
DtypeName = Literal["auto", "float32", "float", "bfloat16", "float16", "half"]
QuantizationName = Literal["int8", "w8a8"]

_FORMAT = "a format of checkpoints quantised beforehand, which are not read: give the checkpoint it was made from"
_NO_FLOAT8 = "float8 is multiplied by few devices, and takes as much memory as int8"
_NO_FOUR_BITS = "weights of four bits cannot be quantised well while they are loaded"
_OTHER_QUANTIZATIONS = {
    **dict.fromkeys(("awq", "awq_marlin", "gptq", "gptq_marlin", "gguf", "compressed-tensors", "modelopt"), _FORMAT),
    **dict.fromkeys(("fp8", "float8", "fbgemm_fp8", "ptpc_fp8"), _NO_FLOAT8),
    **dict.fromkeys(("int4", "nf4", "fp4", "mxfp4"), _NO_FOUR_BITS),
    **dict.fromkeys(("bitsandbytes", "torchao"), "a library of CUDA and torch kernels, which jaxcls does without"),
}


class EngineOptions(TypedDict, total=False):
    """Keyword arguments of `LLM` and `AsyncLLM`; `EngineConfig` says what each means."""

    tokenizer: str | Path | None
    skip_tokenizer_init: bool
    trust_remote_code: bool
    runner: Literal["auto", "pooling"]
    convert: Literal["auto", "none", "classify", "embed"]
    dtype: DtypeName
    quantization: QuantizationName | None
    max_model_len: int | None
    max_num_seqs: int
    max_num_batched_tokens: int | None
    enable_prefix_caching: bool | None
    enable_chunked_prefill: bool | None
    block_size: int
    kv_cache_tokens: int | None
    kv_cache_memory_bytes: int | None
    scheduling_policy: Literal["fcfs", "priority"]
    hf_overrides: HfOverrides | None
    labels: dict[str, str] | list[str] | None
    prompt_template: str | None
    chat_template: str | Path | None
    pooler_config: PoolerConfig | dict[str, Any] | None
    revision: str | None
    tokenizer_revision: str | None
    hf_token: str | None
    download_dir: str | Path | None
    local_files_only: bool
    load_format: Literal["auto", "safetensors", "dummy"]
    head_init: Literal["zeros", "random"] | None
    seed: int
    layer_layout: Literal["auto", "stacked", "unrolled"]
    token_embedding: Literal["auto", "memory", "file"]
    weights_cache_dir: str | Path | Literal[False] | None
    compilation_cache_dir: str | Path | Literal[False] | None
    programs_dir: str | Path | None


class EngineConfig(BaseModel):
    """All arguments of an `LLM`; frozen.

    Attributes:
        model: a local directory, a hub id, or "demo", the embedded classifier.
        tokenizer: a directory or hub id to take the tokenizer from; None: the model's.
        skip_tokenizer_init: load no tokenizer; prompts are then token ids.
        trust_remote_code: must stay False: code from checkpoints is never run, and never needed.
        runner: "auto" and "pooling" mean the same here; accepted for vLLM scripts.
        convert: "classify" runs language models and base models as the classifier of their family, "embed" as its
            embedder; "auto" as what their files say, else as the classifier; "none" only as what their files say.
        dtype: "auto" is float32 on CPU and bfloat16 on GPU and TPU, with `quantization` bfloat16 everywhere; never
            float16 unless asked for.
        quantization: "int8" holds the matrices of the layers in int8, with a float32 scale for each output channel,
            and multiplies in `dtype`; "w8a8" also rounds what they are multiplied with to int8, with a scale for each
            token, which is faster and less exact; None: as `dtype` says. Checkpoints are quantised as they are loaded.
        max_model_len: longest prompt in tokens; None: what the checkpoint allows.
        max_num_seqs: most sequences in one step.
        max_num_batched_tokens: tokens of a full step; None: 512 on CPU (`AsyncLLM`, server: 256), 8192 elsewhere.
        enable_prefix_caching: whether a prefix that prompts have in common is computed once, and kept for later ones.
            None: where the model allows it, which causal ones that score the last token do.
        enable_chunked_prefill: whether a prompt longer than a step is computed in parts, in memory that does not grow
            with it. True makes the pool hold the longest prompt; None: where the model allows it, prompts may be so
            long and the pool suffices.
        block_size: tokens of a page, what is shared of prefixes are whole pages.
        kv_cache_tokens: size of the pool of pages in tokens; None: those of four full steps. It is made when it is
            first needed.
        kv_cache_memory_bytes: the same in bytes.
        scheduling_policy: "fcfs": the oldest request runs first; "priority": the one with the smallest
            `PoolingParams.priority`, the oldest of these.
        hf_overrides: changes to config.json: a dict (nested dicts are merged, None drops a key) or a function of the
            config that returns it.
        labels: makes a classifier of a causal language model: class names -> words, each one token, whose logits after
            the prompt are the classes' logits; or a list of words that are their own names.
        prompt_template: what a text is put into before it is tokenised, with "{text}" (and "{text_pair}") where it
            goes. Truncation cuts the text, never the template.
        chat_template: what pairs of a query and a document, and conversations, are put into: Jinja, a file with Jinja,
            or the name of a published reranker's prompt (`jaxcls.inputs.score_template`). None: for pairs the prompt of
            the published reranker that the model's name says it is, else the tokenizer's pair; for conversations the
            checkpoint's own template.
        pooler_config: overrides of pooling, calibration and the default activation.
        revision: branch, tag or commit on the hub.
        tokenizer_revision: the same for `tokenizer`.
        hf_token: hub access token.
        download_dir: where hub files are kept; None: huggingface_hub's default.
        local_files_only: never use the network.
        load_format: "auto" and "safetensors" read the checkpoint; "dummy" makes random weights, for benchmarks.
        head_init: what a checkpoint without a classification head gets; None: it is refused.
        seed: of random weights.
        layer_layout: how layers lie in memory; "auto": unrolled on CPU, stacked elsewhere.
        token_embedding: where the matrix with a row for each token of the vocabulary is. "memory": with the other
            weights; "file", on CPU: left in the checkpoint's file, which gives each step the rows of its tokens and
            must not be written to meanwhile; "auto": in the file, if it takes more than 256 MiB and can be.
        weights_cache_dir: where converted weights of hub models are kept; None: a user-only default on accelerators,
            nowhere on CPU, where reading the checkpoint is faster; False: nowhere.
        compilation_cache_dir: where compiled programs are kept; None: a user-only default; False: nowhere.
        programs_dir: programs of this model for this device, that `jaxcls compile --output` has written; what they hold
            is run, so take only a directory you trust. None: programs are compiled here.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    model: str | Path
    tokenizer: str | Path | None = None
    skip_tokenizer_init: bool = False
    trust_remote_code: bool = False
    runner: Literal["auto", "pooling"] = "auto"
    convert: Literal["auto", "none", "classify", "embed"] = "auto"
    dtype: DtypeName = "auto"
    quantization: QuantizationName | None = None
    max_model_len: int | None = Field(default=None, ge=1)
    max_num_seqs: int = Field(default=256, ge=1)
    max_num_batched_tokens: int | None = Field(default=None, ge=16)
    enable_prefix_caching: bool | None = None
    enable_chunked_prefill: bool | None = None
    block_size: int = Field(default=16, ge=8)
    kv_cache_tokens: int | None = Field(default=None, ge=1)
    kv_cache_memory_bytes: int | None = Field(default=None, ge=1)
    scheduling_policy: Literal["fcfs", "priority"] = "fcfs"
    hf_overrides: HfOverrides | None = None
    labels: dict[str, str] | list[str] | None = None
    prompt_template: str | None = None
    chat_template: str | Path | None = None
    pooler_config: PoolerConfig | None = None
    revision: str | None = None
    tokenizer_revision: str | None = None
    hf_token: str | None = None
    download_dir: str | Path | None = None
    local_files_only: bool = False
    load_format: Literal["auto", "safetensors", "dummy"] = "auto"
    head_init: Literal["zeros", "random"] | None = None
    seed: int = 0
    layer_layout: Literal["auto", "stacked", "unrolled"] = "auto"
    token_embedding: Literal["auto", "memory", "file"] = "auto"
    weights_cache_dir: str | Path | Literal[False] | None = None
    compilation_cache_dir: str | Path | Literal[False] | None = None
    programs_dir: str | Path | None = None

    @field_validator("quantization", mode="before")
    @classmethod
    def _known_quantization(cls, value: object) -> object:
        if value is None or value in get_args(QuantizationName):
            return value
        reason = _OTHER_QUANTIZATIONS.get(value, "no such method") if isinstance(value, str) else "not a name"
        raise ConfigError(f'quantization={value!r}: {reason}. There are quantization="int8", "w8a8" and None')


_MEANINGLESS = {
    "gpu_memory_utilization": "memory is taken for the weights and one step, nothing is reserved",
    "cpu_offload_gb": "weights stay on one device",
    "swap_space": "pages stay on the device",
    "enforce_eager": "every step is one compiled program; its shapes are few",
    "compilation_config": "there is one way to compile; see compilation_cache_dir",
    "disable_log_stats": "nothing is logged; see LLM.stats",
    "tokenizer_mode": "tokenizers are always the fast ones",
    "task": "LLM classifies; the head comes from the checkpoint",
    "override_pooler_config": "its name is pooler_config",
    "tensor_parallel_size": "a model runs on one device",
    "num_gpu_blocks_override": "its name is kv_cache_tokens, in tokens",
    "enable_lora": "adapters have to be merged into the checkpoint first",
}


def engine_config(model: str | Path, options: dict[str, Any]) -> EngineConfig:
    """Validates the arguments of `LLM`.

    Raises:
        ConfigError: unknown arguments (with the reason, for those that vLLM has), or wrong values.
    """
    unknown = sorted(set(options) - set(EngineConfig.model_fields))
    if unknown:
        reasons = [f"{name}: {_MEANINGLESS.get(name, 'no such argument')}" for name in unknown]
        raise ConfigError(f"LLM does not take {'; '.join(reasons)}. Remove it from the call")
    if options.get("trust_remote_code"):
        raise ConfigError(
            "trust_remote_code=True: jaxcls never runs code from a checkpoint. Leave it out: supported architectures "
            "load without it"
        )
    try:
        return EngineConfig(model=model, **options)
    except ValidationError as error:
        raise ConfigError(problems(error)) from None

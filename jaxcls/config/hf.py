"""A strict view of config.json: every key is read, ignored by name, or an error.

A default here is the default of transformers' config class. Keys that nobody asked for are compared with that class
when, and only when, there are any; one that says something else changes the model in a way jaxcls does not know.
"""

import builtins
import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxcls.config.labels import Labels, generic_names, read_labels
from jaxcls.errors import ConfigError
from jaxcls.layers.activation import activation

# Nothing in these changes what a trained classifier computes for given token ids.
_BOOKKEEPING = frozenset(
    "_attn_implementation _attn_implementation_autoset _commit_hash _flash_attn_2_enabled _name_or_path _num_labels "
    "adapters architectures attn_implementation auto_map custom_pipelines dataset dtype finetuning_task "
    "gradient_checkpointing id2label label2id language license model_type name num_labels problem_type "
    "return_dict return_dict_in_generate sentence_transformers sbert_ce_default_activation_function "
    "task_specific_params tokenizer_class torch_dtype torchscript transformers.js_config transformers_version "
    "unsloth_fixed unsloth_version use_auth_token".split()
)
_TRAINING_ONLY = frozenset(
    "attention_dropout attention_probs_dropout_prob classifier_dropout embd_pdrop hidden_dropout_prob "
    "initializer_factor initializer_range label_smoothing resid_pdrop summary_first_dropout tf_legacy_loss "
    "use_bfloat16".split()
)
_GENERATION_ONLY = frozenset(
    "bad_words_ids begin_suppress_tokens decoder_start_token_id diversity_penalty do_sample early_stopping "
    "encoder_no_repeat_ngram_size exponential_decay_length_penalty forced_bos_token_id forced_eos_token_id "
    "length_penalty max_length min_length no_repeat_ngram_size num_beam_groups num_beams num_return_sequences "
    "output_attentions output_hidden_states output_past output_scores prefix remove_invalid_values "
    "repetition_penalty suppress_tokens temperature top_k top_p typical_p use_cache".split()
)
# Ids that only the tokenizer uses; pad_token_id is not one of them.
_TOKENIZER_ONLY = frozenset("bos_token_id cls_token_id eos_token_id mask_token_id sep_token_id unk_token_id".split())
# Same result, another order of computation.
_EXECUTION = frozenset(("chunk_size_feed_forward", "tie_word_embeddings"))
_IGNORED = _BOOKKEEPING | _TRAINING_ONLY | _GENERATION_ONLY | _TOKENIZER_ONLY | _EXECUTION

_REQUIRED: Any = object()


class HfView:
    """One config.json being read by one architecture.

    Attributes:
        labels: number and names of the classes, and the problem type.
        source: where the values come from, for messages.
    """

    def __init__(self, values: Mapping[str, Any], *, source: str = "config.json"):
        self._values = dict(values)
        self._taken: set[str] = set()
        self.source = source
        self.defaults: dict[str, Any] = {}
        self.labels: Labels = read_labels(self._values, source)
        if quantization := self._values.get("quantization_config"):
            method = quantization.get("quant_method", "unknown") if isinstance(quantization, dict) else quantization
            raise ConfigError(
                f"{source}: the checkpoint is quantised (quant_method {method!r}), which jaxcls cannot read; "
                "use the unquantised checkpoint it was made from"
            )
        self._taken.add("quantization_config")
        if self._values.get("pruned_heads"):
            raise ConfigError(f"{source}: pruned_heads = {self._values['pruned_heads']} is not supported")
        self._taken.add("pruned_heads")
        self.expect("is_decoder", False)
        self.expect("add_cross_attention", False)
        self.expect("is_encoder_decoder", False)
        self.expect("cross_attention_hidden_size", None)
        self.expect("tie_encoder_decoder", False)
        head_dtype = self._values.get("head_dtype")
        if head_dtype not in ("float32", None):
            raise self.error("head_dtype", head_dtype, "heads are float32 always; leave it out")
        self._taken.add("head_dtype")

    @property
    def num_labels(self) -> builtins.int:
        """Number of classes C."""
        return len(self.labels.names)

    def rename(self, names: Mapping[str, str]) -> None:
        """Reads each key under its other name as well, as the attribute_map of transformers' config classes does.

        Args:
            names: other name -> the key that the architecture reads.
        """
        for other, key in names.items():
            if other not in self._values:
                continue
            value = self._values.pop(other)
            if self._values.setdefault(key, value) != value:
                raise self.error(other, value, f"it is another name of {key}, which is {self._values[key]!r}")

    def set_num_labels(self, count: builtins.int) -> None:
        """Says how many outputs the architecture has whatever config.json says; names that fit are kept."""
        names = self.labels.names
        if len(names) == count:
            return
        if names != generic_names(len(names)):
            raise self.error("id2label", dict(enumerate(names)), f"this architecture has {count} outputs")
        self.labels = dataclasses.replace(self.labels, names=generic_names(count))

    def raw(self, key: str, default: Any) -> Any:
        """The value as JSON has it; `default` when the key is absent."""
        self._taken.add(key)
        self.defaults[key] = default
        return self._values.get(key, default)

    def int(self, key: str, default: builtins.int) -> builtins.int:
        """An integer; null means the default, as in transformers' configs."""
        return self._typed(key, default, builtins.int)

    def optional_int(self, key: str, default: builtins.int | None) -> builtins.int | None:
        """An integer for which null is a value of its own."""
        value = self.raw(key, default)
        return None if value is None else self._typed(key, default, builtins.int)

    def float(self, key: str, default: builtins.float) -> builtins.float:
        """A number; null means the default."""
        return builtins.float(self._typed(key, default, (builtins.int, builtins.float)))

    def optional_float(self, key: str, default: builtins.float | None) -> builtins.float | None:
        """A number for which null is a value of its own."""
        return None if self.raw(key, default) is None else self.float(key, default or 0.0)

    def bool(self, key: str, default: builtins.bool) -> builtins.bool:
        """A truth value; null means the default."""
        return self._typed(key, default, builtins.bool)

    def activation(self, key: str, default: str) -> str:
        """The name of a known activation."""
        name = self._typed(key, default, str)
        try:
            activation(name)
        except ValueError as error:
            raise self.error(key, name, str(error)) from None
        return name

    def expect(self, key: str, value: Any) -> None:
        """Accepts `key` only with this value (or null)."""
        found = self.raw(key, value)
        if found is not None and found != value:
            raise self.error(key, found, f"only {value!r} is supported")

    def ignore(self, *keys: str) -> None:
        """Accepts keys that change nothing for this architecture; the caller says why."""
        self._taken.update(keys)

    def error(self, key: str, value: Any, reason: str) -> ConfigError:
        """A ConfigError about one key."""
        return ConfigError(f"{self.source}: {key} = {value!r}: {reason}")

    def finish(self, architecture: str) -> None:
        """Raises ConfigError if a key was not read and differs from transformers' default."""
        left = {k: v for k, v in self._values.items() if k not in self._taken and k not in _IGNORED}
        if left:
            known = _class_defaults(self._values.get("model_type"))
            left = {k: v for k, v in left.items() if k not in known or known[k] != v}
        if left:
            listed = ", ".join(f"{k} = {v!r}" for k, v in sorted(left.items()))
            raise ConfigError(
                f"{self.source}: {architecture} does not know what these keys change: {listed}. If they change nothing "
                f"at inference, drop them: hf_overrides={{{', '.join(f'{k!r}: None' for k in sorted(left))}}}"
            )

    def _typed(self, key: str, default: Any, kind: Any) -> Any:
        value = self.raw(key, default)
        if value is None:
            return default
        right = isinstance(value, kind) and (kind is builtins.bool or not isinstance(value, builtins.bool))
        if not right:
            names = kind.__name__ if isinstance(kind, type) else "number"
            raise self.error(key, value, f"expected {names}, got {type(value).__name__}")
        return value


def _class_defaults(model_type: str | None) -> dict[str, Any]:
    """Defaults of transformers' config class; an import of a second, so only on the way to an error."""
    from transformers import CONFIG_MAPPING

    if model_type is None or model_type not in CONFIG_MAPPING:
        return {}
    return CONFIG_MAPPING[model_type]().to_dict()

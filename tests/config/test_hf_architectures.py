"""Every architecture reads config.json as transformers' config class does: same defaults, and no key that is ignored.

transformers gives its config classes without torch, so they are the oracle here.
"""

from collections.abc import Mapping
from typing import Any

import pytest
from transformers import CONFIG_MAPPING

from jaxcls.config.hf import HfView
from jaxcls.errors import ConfigError
from jaxcls.registry import architecture_names, find_architecture

MODEL_TYPES = {
    "AlbertForSequenceClassification": "albert",
    "AlbertForTokenClassification": "albert",
    "BertForSequenceClassification": "bert",
    "BertForTokenClassification": "bert",
    "CamembertForSequenceClassification": "camembert",
    "CamembertForTokenClassification": "camembert",
    "DebertaForSequenceClassification": "deberta",
    "DebertaForTokenClassification": "deberta",
    "DebertaV2ForSequenceClassification": "deberta-v2",
    "DebertaV2ForTokenClassification": "deberta-v2",
    "DistilBertForSequenceClassification": "distilbert",
    "DistilBertForTokenClassification": "distilbert",
    "ElectraForSequenceClassification": "electra",
    "ElectraForTokenClassification": "electra",
    "ErnieForSequenceClassification": "ernie",
    "ErnieForTokenClassification": "ernie",
    "EuroBertForSequenceClassification": "eurobert",
    "EuroBertForTokenClassification": "eurobert",
    "GPT2ForSequenceClassification": "gpt2",
    "GPT2ForTokenClassification": "gpt2",
    "Gemma2ForSequenceClassification": "gemma2",
    "Gemma2ForTokenClassification": "gemma2",
    "Gemma3TextForSequenceClassification": "gemma3_text",
    "GemmaForSequenceClassification": "gemma",
    "GemmaForTokenClassification": "gemma",
    "GteForSequenceClassification": "gte",
    "GteForTokenClassification": "gte",
    "JambaForSequenceClassification": "jamba",
    "JinaEmbeddingsV3ForSequenceClassification": "jina_embeddings_v3",
    "JinaEmbeddingsV3ForTokenClassification": "jina_embeddings_v3",
    "LlamaForSequenceClassification": "llama",
    "LlamaForTokenClassification": "llama",
    "MPNetForSequenceClassification": "mpnet",
    "MPNetForTokenClassification": "mpnet",
    "MistralForSequenceClassification": "mistral",
    "MistralForTokenClassification": "mistral",
    "ModernBertForSequenceClassification": "modernbert",
    "ModernBertForTokenClassification": "modernbert",
    "NomicBertForSequenceClassification": "nomic_bert",
    "NomicBertForTokenClassification": "nomic_bert",
    "Phi3ForSequenceClassification": "phi3",
    "Phi3ForTokenClassification": "phi3",
    "Qwen2ForProcessRewardModel": "qwen2",
    "Qwen2ForRewardModel": "qwen2",
    "Qwen2ForSequenceClassification": "qwen2",
    "Qwen2ForTokenClassification": "qwen2",
    "Qwen2MoeForSequenceClassification": "qwen2_moe",
    "Qwen2MoeForTokenClassification": "qwen2_moe",
    "Qwen3ForSequenceClassification": "qwen3",
    "Qwen3ForTokenClassification": "qwen3",
    "Qwen3MoeForSequenceClassification": "qwen3_moe",
    "Qwen3MoeForTokenClassification": "qwen3_moe",
    "RobertaForSequenceClassification": "roberta",
    "RobertaForTokenClassification": "roberta",
    "XLMRobertaForSequenceClassification": "xlm-roberta",
    "XLMRobertaForTokenClassification": "xlm-roberta",
}
# Names of code that came with the checkpoints: transformers has no config class of them.
PUBLISHED_ONLY = frozenset(
    "GteNewForSequenceClassification InternLM2ForRewardModel LlamaBidirectionalForSequenceClassification "
    "NewForSequenceClassification NewForTokenClassification".split()
)
# Keys whose default is not an attribute of the class, or is one in another form.
EXPECTED_DEFAULTS: dict[str, Any] = {
    # Features of old releases; the default is the only value that is accepted.
    "cross_attention_hidden_size": None,
    "tie_encoder_decoder": False,
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
    "use_mrope": False,
    # Read for RoBERTa's default only.
    "model_type": None,
    # The flat keys of transformers 4; version 5 fills rope_parameters from them.
    "rope_theta": 10000.0,
    "rope_scaling": None,
    "rope_parameters": None,
    "partial_rotary_factor": None,
    "original_max_position_embeddings": None,
    # Gemma: null means hidden_act in version 4 and is unknown in 5.
    "hidden_activation": None,
    # Gemma: null in the class, and falsy.
    "use_bidirectional_attention": False,
    # Qwen: 4096 in the signature, replaced by null because use_sliding_window is False; layer_types follows.
    "sliding_window": 4096,
    "layer_types": None,
    # Of published code, by which a config is told from transformers' own.
    "auto_map": None,
    "clf_pooling": None,
    "use_flash_attn": None,
    # ModernBERT: flat keys of transformers 4.
    "global_attn_every_n_layers": 3,
    "global_rope_theta": 160000.0,
    "local_rope_theta": 10000.0,
    # Jamba: a number in the class, ceil(4096 / 16); and keys of files that are older than the class.
    "mamba_dt_rank": "auto",
    "mamba_inner_layernorms": True,
    "n_ctx": 262144,
}
# Of keys that are no attributes of a class, but read by its models.
UNDECLARED_DEFAULTS: dict[str, Any] = {
    "attention_head_size": 64,
    "conv_act": "tanh",
    "conv_groups": 1,
    "conv_kernel_size": 0,
    "embedding_size": None,
    "norm_rel_ebd": "none",
    "position_buckets": -1,
    "share_att_key": False,
    "talking_head": False,
}
# The same of one model type.
OWN_DEFAULTS: dict[str, dict[str, Any]] = {
    "gemma2": {"hidden_activation": "gelu_pytorch_tanh"},
    "gemma3_text": {
        "hidden_activation": "gelu_pytorch_tanh",
        "rope_local_base_freq": 10000.0,
        "rope_theta": 1000000.0,
        "sliding_window_pattern": 6,
    },
    "gte": {"rope_theta": 160000.0},
    "jina_embeddings_v3": {"rope_theta": 20000.0},
    "modernbert": {"hidden_activation": "gelu"},
    "nomic_bert": {"n_embd": None, "rope_theta": 1000.0},
    "phi3": {
        "attention_bias": False,
        "mlp_bias": False,
        "original_max_position_embeddings": 4096,
        "sliding_window": None,
    },
}
# Keys of the classes that change nothing about inference; the original length matters to a longrope only.
INERT = frozenset(
    "_name_or_path _sliding_window_pattern architectures attention_dropout attention_probs_dropout_prob attn_pdrop "
    "bos_token_id chunk_size_feed_forward classifier_dropout classifier_dropout_prob cls_token_id decoder_bias "
    "deterministic_flash_attn dropout dtype embd_pdrop embedding_dropout eos_token_id final_logit_softcapping "
    "hidden_dropout_prob initializer_cutoff_factor initializer_range legacy mask_token_id mlp_dropout model_type "
    "original_max_position_embeddings output_attentions output_hidden_states output_router_logits pooler_dropout "
    "pretraining_tp qa_dropout reorder_and_upcast_attn resid_pdrop return_dict router_aux_loss_coef sep_token_id "
    "seq_classif_dropout sinusoidal_pos_embds sparse_pred_ignore_index sparse_prediction summary_activation "
    "summary_first_dropout summary_last_dropout summary_proj_to_labels summary_type summary_use_proj "
    "tie_word_embeddings transformers_version use_associative_scan use_cache use_mamba_kernels use_mambapy".split()
)
# These matter with others: test_windows_follow_their_keys, ERNIE's table without use_task_id is not there, and
# DeBERTa's positions are nothing without relative_attention and pos_att_type.
JOINT_KEYS = frozenset(
    "use_sliding_window sliding_window max_window_layers task_type_vocab_size relative_attention "
    "max_relative_positions".split()
)
# What classifiers of tokens do without.
POOLER_KEYS = frozenset(("pooler_hidden_act", "pooler_hidden_size"))
# DistilBERT's and GPT-2's names of what all others call alike.
OTHER_NAMES = {"num_hidden_layers": ("n_layers", "n_layer"), "hidden_size": ("dim", "n_embd")}

each_architecture = pytest.mark.parametrize("name", sorted(set(architecture_names()) - PUBLISHED_ONLY))


def class_defaults(name: str) -> dict[str, Any]:
    return CONFIG_MAPPING[MODEL_TYPES[name]]().to_dict()


def read(name: str, values: Mapping[str, Any]) -> tuple[Any, HfView]:
    view = HfView(values)
    config = find_architecture(name).config(view)
    view.finish(name)
    return config, view


def another(value: Any) -> Any:
    """A valid value of the same kind that is not this one."""
    match value:
        case bool():
            return not value
        case int() | float():
            return value * 2 or 2
        case str():
            return "relu"
        case list():
            other = {"sliding_attention": "full_attention"}.get(value[-1], "sliding_attention") if value else 0
            return [*value[:-1], other]
        case dict():
            return {**value, "factor_of_tomorrow": 1}
        case _:
            return 7


@each_architecture
def test_defaults_are_those_of_the_class(name: str) -> None:
    known = class_defaults(name)
    _, view = read(name, {"model_type": MODEL_TYPES[name]})
    expected = {
        key: EXPECTED_DEFAULTS.get(key, known.get(key, UNDECLARED_DEFAULTS.get(key, "none"))) for key in view.defaults
    }
    if "head_dim" in expected:
        # Where it is not stored, attention divides hidden_size by the heads.
        expected["head_dim"] = known.get("head_dim") or known["hidden_size"] // known["num_attention_heads"]
    if "sliding_window" in expected and "sliding_window" not in known:
        expected["sliding_window"] = None
    if "num_experts" in expected:
        # Qwen3Moe: files of transformers 4 have this name, the class has another.
        expected["num_experts"] = known.get("num_experts") or known["num_local_experts"]
    expected |= {key: v for key, v in OWN_DEFAULTS.get(MODEL_TYPES[name], {}).items() if key in expected}
    if "num_key_value_heads" in view.defaults and view.defaults["num_key_value_heads"] is None:
        # As many as there are query heads, which is what the class makes of it.
        expected["num_key_value_heads"] = None
        assert known["num_key_value_heads"] == known["num_attention_heads"]
    assert view.defaults == expected


@each_architecture
def test_rope_theta_defaults_to_the_class_default(name: str) -> None:
    known = class_defaults(name)
    if "rope_parameters" in known:
        config, _ = read(name, {"model_type": MODEL_TYPES[name]})
        parameters = known["rope_parameters"]
        assert config.rope.theta == parameters.get("full_attention", parameters)["rope_theta"]
        if getattr(config, "local_rope", None) is not None:
            assert config.local_rope.theta == parameters["sliding_attention"]["rope_theta"]


@each_architecture
def test_a_minimal_config_equals_the_full_one(name: str) -> None:
    full, _ = read(name, class_defaults(name))
    minimal, _ = read(name, {"model_type": MODEL_TYPES[name]})
    assert full == minimal


@each_architecture
def test_every_key_of_the_class_matters_or_is_refused(name: str) -> None:
    """A key that differs from the default changes the config, or is an error; only the INERT ones are ignored."""
    known = class_defaults(name)
    reference, view = read(name, known)
    ignored, refused = set(), {}
    for key, value in known.items():
        try:
            config, changed = read(name, {**known, key: another(value)})
        except ConfigError as error:
            refused[key] = str(error)
        else:
            if config == reference and changed.labels == view.labels:
                ignored.add(key)
    assert [key for key, message in refused.items() if key not in message] in ([], ["num_hidden_layers"])
    together = JOINT_KEYS | (POOLER_KEYS if "Token" in name else set())
    assert ignored - together == INERT & set(known)


@pytest.mark.parametrize("name", ["Qwen2ForSequenceClassification", "Qwen3ForSequenceClassification"])
@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"use_sliding_window": True},
        {"use_sliding_window": True, "max_window_layers": 1},
        {"use_sliding_window": True, "max_window_layers": 0, "sliding_window": 17},
        {"use_sliding_window": True, "max_window_layers": 9},
        {"use_sliding_window": True, "sliding_window": None},
        {"use_sliding_window": True, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
        {"use_sliding_window": False, "sliding_window": 8},
    ],
    ids=str,
)
def test_windows_follow_their_keys(name: str, keys: dict[str, Any]) -> None:
    theirs = CONFIG_MAPPING[MODEL_TYPES[name]](num_hidden_layers=3, **keys)
    expected = tuple(theirs.sliding_window if t == "sliding_attention" else None for t in theirs.layer_types)
    config, _ = read(name, {"num_hidden_layers": 3, **keys})
    assert config.windows == expected


@each_architecture
def test_null_means_the_default_where_the_class_has_one(name: str) -> None:
    known = class_defaults(name)
    keys = ("num_hidden_layers", "vocab_size", "hidden_size")
    keys = tuple(key if key in known else next(n for n in OTHER_NAMES[key] if n in known) for key in keys)
    config, _ = read(name, {"model_type": MODEL_TYPES[name], **dict.fromkeys(keys)})
    assert (config.num_layers, config.vocab_size, config.embed_dim) == tuple(known[key] for key in keys)


@pytest.mark.parametrize(("pad", "positions", "max_len"), [(1, 514, 512), (0, 514, 513), (5, 100, 94)])
def test_roberta_positions_begin_behind_the_padding_id(pad: int, positions: int, max_len: int) -> None:
    values = {"pad_token_id": pad, "max_position_embeddings": positions}
    config, _ = read("RobertaForSequenceClassification", values)
    assert (config.max_len, config.num_positions, config.position_padding_id) == (max_len, positions, pad)


def test_bert_uses_all_its_positions() -> None:
    config, _ = read("BertForSequenceClassification", {"max_position_embeddings": 40})
    assert (config.max_len, config.position_padding_id) == (40, None)

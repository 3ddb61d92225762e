"""Hugging Face architecture name -> Architecture, imported on first use."""

import difflib
import importlib
import itertools
from collections.abc import Iterator
from importlib.metadata import entry_points

from jaxcls.config.conversion import CONVERTED
from jaxcls.errors import ConfigError
from jaxcls.models.architecture import Architecture

ENTRY_POINT_GROUP = "jaxcls.architectures"

_BUILT_IN = {
    "AlbertForSequenceClassification": "jaxcls.models.albert:ARCHITECTURE",
    "AlbertForTokenClassification": "jaxcls.models.albert:TOKENS",
    "BertForSequenceClassification": "jaxcls.models.bert:ARCHITECTURE",
    "BertForTokenClassification": "jaxcls.models.bert:TOKENS",
    "CamembertForSequenceClassification": "jaxcls.models.roberta:ARCHITECTURE",
    "CamembertForTokenClassification": "jaxcls.models.roberta:TOKENS",
    "DebertaForSequenceClassification": "jaxcls.models.deberta:V1",
    "DebertaForTokenClassification": "jaxcls.models.deberta:V1_TOKENS",
    "DebertaV2ForSequenceClassification": "jaxcls.models.deberta:V2",
    "DebertaV2ForTokenClassification": "jaxcls.models.deberta:V2_TOKENS",
    "DistilBertForSequenceClassification": "jaxcls.models.distilbert:ARCHITECTURE",
    "DistilBertForTokenClassification": "jaxcls.models.distilbert:TOKENS",
    "ElectraForSequenceClassification": "jaxcls.models.electra:ARCHITECTURE",
    "ElectraForTokenClassification": "jaxcls.models.electra:TOKENS",
    "ErnieForSequenceClassification": "jaxcls.models.ernie:ARCHITECTURE",
    "ErnieForTokenClassification": "jaxcls.models.ernie:TOKENS",
    "EuroBertForSequenceClassification": "jaxcls.models.eurobert:SEQUENCES",
    "EuroBertForTokenClassification": "jaxcls.models.eurobert:TOKENS",
    "GPT2ForSequenceClassification": "jaxcls.models.gpt2:SEQUENCES",
    "GPT2ForTokenClassification": "jaxcls.models.gpt2:TOKENS",
    "Gemma2ForSequenceClassification": "jaxcls.models.gemma2:ARCHITECTURE",
    "Gemma2ForTokenClassification": "jaxcls.models.gemma2:TOKENS",
    "Gemma3TextForSequenceClassification": "jaxcls.models.gemma3:ARCHITECTURE",
    "GemmaForSequenceClassification": "jaxcls.models.gemma:ARCHITECTURE",
    "GemmaForTokenClassification": "jaxcls.models.gemma:TOKENS",
    "GteForSequenceClassification": "jaxcls.models.gte:SEQUENCES",
    "GteForTokenClassification": "jaxcls.models.gte:TOKENS",
    "GteNewForSequenceClassification": "jaxcls.models.gte:SEQUENCES",
    "InternLM2ForRewardModel": "jaxcls.models.internlm2:ARCHITECTURE",
    "JambaForSequenceClassification": "jaxcls.models.jamba:ARCHITECTURE",
    "JinaEmbeddingsV3ForSequenceClassification": "jaxcls.models.flash_xlm_roberta:SEQUENCES",
    "JinaEmbeddingsV3ForTokenClassification": "jaxcls.models.flash_xlm_roberta:TOKENS",
    "LlamaBidirectionalForSequenceClassification": "jaxcls.models.llama:BIDIRECTIONAL",
    "LlamaForSequenceClassification": "jaxcls.models.llama:ARCHITECTURE",
    "LlamaForTokenClassification": "jaxcls.models.llama:TOKENS",
    "MPNetForSequenceClassification": "jaxcls.models.mpnet:ARCHITECTURE",
    "MPNetForTokenClassification": "jaxcls.models.mpnet:TOKENS",
    "MistralForSequenceClassification": "jaxcls.models.mistral:ARCHITECTURE",
    "MistralForTokenClassification": "jaxcls.models.mistral:TOKENS",
    "ModernBertForSequenceClassification": "jaxcls.models.modernbert:SEQUENCES",
    "ModernBertForTokenClassification": "jaxcls.models.modernbert:TOKENS",
    "NewForSequenceClassification": "jaxcls.models.gte:SEQUENCES",
    "NewForTokenClassification": "jaxcls.models.gte:TOKENS",
    "NomicBertForSequenceClassification": "jaxcls.models.nomic_bert:SEQUENCES",
    "NomicBertForTokenClassification": "jaxcls.models.nomic_bert:TOKENS",
    "Phi3ForSequenceClassification": "jaxcls.models.phi3:ARCHITECTURE",
    "Phi3ForTokenClassification": "jaxcls.models.phi3:TOKENS",
    "Qwen2ForProcessRewardModel": "jaxcls.models.qwen_reward:PROCESS_REWARD",
    "Qwen2ForRewardModel": "jaxcls.models.qwen_reward:REWARD",
    "Qwen2ForSequenceClassification": "jaxcls.models.qwen:QWEN2",
    "Qwen2ForTokenClassification": "jaxcls.models.qwen:QWEN2_TOKENS",
    "Qwen2MoeForSequenceClassification": "jaxcls.models.qwen_moe:QWEN2_MOE",
    "Qwen2MoeForTokenClassification": "jaxcls.models.qwen_moe:QWEN2_MOE_TOKENS",
    "Qwen3ForSequenceClassification": "jaxcls.models.qwen:QWEN3",
    "Qwen3ForTokenClassification": "jaxcls.models.qwen:QWEN3_TOKENS",
    "Qwen3MoeForSequenceClassification": "jaxcls.models.qwen_moe:QWEN3_MOE",
    "Qwen3MoeForTokenClassification": "jaxcls.models.qwen_moe:QWEN3_MOE_TOKENS",
    "RobertaForSequenceClassification": "jaxcls.models.roberta:ARCHITECTURE",
    "RobertaForTokenClassification": "jaxcls.models.roberta:TOKENS",
    "XLMRobertaForSequenceClassification": "jaxcls.models.roberta:ARCHITECTURE",
    "XLMRobertaForTokenClassification": "jaxcls.models.roberta:TOKENS",
}


def architecture_names() -> list[str]:
    """Every name that can be loaded: built in, and registered by other packages under `jaxcls.architectures`."""
    return sorted({*_BUILT_IN, *(point.name for point in entry_points(group=ENTRY_POINT_GROUP))})


def architectures() -> Iterator[Architecture]:
    """All architectures, each once; imports every model file."""
    seen: set[tuple[str, ...]] = set()
    for name in architecture_names():
        architecture = find_architecture(name)
        if architecture.names not in seen:
            seen.add(architecture.names)
            yield architecture


def find_architecture(name: str) -> Architecture:
    """The architecture that config.json calls `name`. An import error of its file is raised as it is.

    Raises:
        ConfigError: unknown; the message lists the near names and what to do.
    """
    if name in _BUILT_IN:
        module, attribute = _BUILT_IN[name].split(":")
        return getattr(importlib.import_module(module), attribute)
    for point in entry_points(group=ENTRY_POINT_GROUP, name=name):
        return point.load()
    raise ConfigError(_unknown(name))


def classifier_name(name: str, *, convert: bool) -> str:
    """The architecture that runs a checkpoint whose config.json says `name`.

    Language models and base models run as the classifier of their family (`LlamaForCausalLM` as
    `LlamaForSequenceClassification`); what their head is, is decided elsewhere.

    Args:
        name: a class name.
        convert: whether they may.

    Raises:
        ConfigError: unknown, or known only converted where that is not allowed.
    """
    known = architecture_names()
    if name in known:
        return name
    for suffix, kind in itertools.product(CONVERTED, ("", "Text")):  # Gemma3ForCausalLM is text only
        classifier = f"{name.removesuffix(suffix)}{kind}ForSequenceClassification"
        if name.endswith(suffix) and classifier in known:
            if not convert:
                raise ConfigError(f"{name} is no classifier, and convert='none' forbids to make it one: leave it out")
            return classifier
    raise ConfigError(_unknown(name))


def _unknown(name: str) -> str:
    known = architecture_names()
    near = _same_model(name, known) or difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    message = f"architecture {name!r} is not supported."
    if near:
        message += f" Near names: {', '.join(near)}."
        message += (
            f" If this checkpoint is such a model under another name, say so: "
            f"hf_overrides={{'architectures': [{near[0]!r}]}}; if it has no classification head yet, add "
            "head_init='zeros' or 'random' to start from an untrained one."
        )
    return f"{message} Supported: {', '.join(known)}; packages can add others (CONTRIBUTING.md)."


def _same_model(name: str, known: list[str]) -> list[str]:
    """BertModel, BertForMaskedLM -> BertForSequenceClassification, then other heads."""
    stem = name.split("For", maxsplit=1)[0].removesuffix("Model")
    same = [other for other in known if other.split("For")[0] == stem]
    return sorted(same, key=lambda other: not other.endswith("ForSequenceClassification"))

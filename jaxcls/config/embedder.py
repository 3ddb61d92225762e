"""Embedders: what sentence-transformers' files say of a checkpoint beside its network."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxcls.config.files import read_json, read_objects
from jaxcls.config.late import LateInteraction, read_late
from jaxcls.config.pooler import Pooling
from jaxcls.errors import ConfigError
from jaxcls.layers.head import NO_PROJECTION, DenseConfig, ProjectionConfig

MODULES = "modules.json"
TRANSFORMER = "sentence_bert_config.json"
METADATA = "artifact.metadata"
_SETTINGS = "config_sentence_transformers.json"
_STANFORD = "HF_ColBERT"
_STANFORD_NETWORKS = {"bert": "BertModel", "xlm-roberta": "XLMRobertaModel"}
_POOLING: dict[str, Pooling] = {
    "cls": "CLS",
    "cls_token": "CLS",
    "mean": "MEAN",
    "mean_tokens": "MEAN",
    "lasttoken": "LAST",
}
# Of a Transformer module: what is supported where a key is there at all. The limit and the case are read elsewhere,
# `unpad_inputs` is a way of computing.
_EXPECTED: dict[str, Any] = {
    "transformer_task": "feature-extraction",
    "module_output_name": "token_embeddings",
    "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
}
_READ = ("max_seq_length", "do_lower_case", "unpad_inputs")
# A closed table: a class path found in a downloaded file is never imported.
_ACTIVATIONS = {
    "torch.nn.modules.linear.Identity": "linear",
    "torch.nn.modules.activation.GELU": "gelu",
    "torch.nn.modules.activation.ReLU": "relu",
    "torch.nn.modules.activation.Sigmoid": "sigmoid",
    "torch.nn.modules.activation.SiLU": "silu",
    "torch.nn.modules.activation.Tanh": "tanh",
}


@dataclasses.dataclass(frozen=True)
class Embedder:
    """What becomes of hidden states, and of texts before.

    Attributes:
        projection: dense layers after the pooling.
        folders: where the weights of each dense layer are, below the checkpoint.
        normalize: whether embeddings have length 1 where a request does not say.
        reason: who said so.
        prompts: name -> what is put before a text.
        default_prompt: the name of the one for calls that name none.
        pools_prompt: whether the tokens of such a prompt are part of a mean.
        late: how queries and documents are prepared whose tokens are embedded each; None: texts are embedded whole.
        network: the class of the network where config.json names another.
        similarity: how alike two embeddings are, by its name in sentence-transformers.
    """

    projection: ProjectionConfig = NO_PROJECTION
    folders: tuple[str, ...] = ()
    normalize: bool = True
    reason: str = "convert='embed'"
    prompts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    default_prompt: str | None = None
    pools_prompt: bool = True
    late: LateInteraction | None = None
    network: str | None = None
    similarity: str = "cosine"


def read_embedder(path: Path, values: Mapping[str, Any]) -> Embedder | None:
    """The embedder that a directory's files describe; None: they describe none.

    Args:
        path: the directory.
        values: its config.json.

    Raises:
        ConfigError: modules that cannot be honoured.
    """
    if values.get("architectures") == [_STANFORD]:
        return _stanford(path, values)
    source, settings = path / MODULES, read_json(path / _SETTINGS)
    modules = [(_kind(module), str(module.get("path", "")), module) for module in read_objects(source)]
    kinds = [kind for kind, _, _ in modules]
    of_tokens = kinds[:2] == ["Transformer", "Dense"]
    if not of_tokens and kinds[:2] != ["Transformer", "Pooling"]:
        return None
    for kind, _, module in modules:
        if kind not in ("Transformer", "Pooling", "Dense", "Normalize"):
            raise ConfigError(f"{source}: module {module.get('type')!r} is not supported")
    _check_transformer(path / TRANSFORMER)
    body = kinds[1 if of_tokens else 2 :]
    normalize = body[-1:] == ["Normalize"]
    if modules[0][1] or body[: len(body) - normalize] != ["Dense"] * (len(body) - normalize):
        raise ConfigError(
            f"{source}: {' -> '.join(kinds)} is not supported: it has to be Transformer (in the directory itself) -> "
            "Pooling (none: an embedding a token) -> Dense, any number of times -> Normalize or nothing"
        )
    folders = tuple(folder for kind, folder, _ in modules if kind == "Dense")
    read = "token_embeddings" if of_tokens else "sentence_embedding"
    return Embedder(
        projection=ProjectionConfig(tuple(_dense(path / folder / "config.json", read) for folder in folders)),
        folders=folders,
        normalize=normalize or of_tokens,
        reason=MODULES,
        pools_prompt=of_tokens or _pooling_settings(path / modules[1][1] / "config.json")[1],
        late=read_late(settings, path / _SETTINGS) if of_tokens else None,
        similarity=settings.get("similarity_fn_name") or "cosine",
        **_prompts(settings, path / _SETTINGS),
    )


def _stanford(path: Path, values: Mapping[str, Any]) -> Embedder:
    """ColBERT as its authors publish it: the projection is in the network's file, the settings are in one of theirs."""
    source = path / METADATA
    settings = read_json(source)
    network = _STANFORD_NETWORKS.get(str(values.get("model_type")))
    if network is None:
        raise ConfigError(f"{_STANFORD} with model_type {values.get('model_type')!r} is not supported")
    names = {
        "query_prefix": "query_token_id",
        "document_prefix": "doc_token_id",
        "query_length": "query_maxlen",
        "document_length": "doc_maxlen",
        "attend_to_expansion_tokens": "attend_to_mask_tokens",
    }
    found = {name: settings[theirs] for name, theirs in names.items() if settings.get(theirs) is not None}
    if settings.get("similarity", "cosine") != "cosine":
        raise ConfigError(f"{source}: similarity = {settings['similarity']!r}: only 'cosine' is supported")
    skiplist = {} if settings.get("mask_punctuation", True) else {"skiplist_words": []}
    dense = DenseConfig(values.get("hidden_size", 768), settings.get("dim", 128), bias=False)
    return Embedder(
        projection=ProjectionConfig((dense,)),
        folders=("",),
        reason=METADATA,
        late=read_late({"query_prefix": "[unused0]", "document_prefix": "[unused1]", **found, **skiplist}, source),
        network=network,
    )


def _check_transformer(source: Path) -> None:
    for key, value in read_json(source).items():
        if key not in _READ and value not in (None, {}, _EXPECTED.get(key)):
            raise ConfigError(f"{source}: {key} = {value!r} is not supported")


def read_pooling(path: Path) -> Pooling | None:
    """How the modules.json of a directory pools; None: it does not say.

    Raises:
        ConfigError: in a way that is not supported.
    """
    for module in read_objects(path / MODULES):
        if _kind(module) == "Pooling":
            source = path / str(module.get("path", "")) / "config.json"
            mode, _ = _pooling_settings(source)
            if mode not in _POOLING:
                raise ConfigError(
                    f"{source}: pooling mode {mode!r} is not supported; set pooler_config={{'pooling_type': ...}}"
                )
            return _POOLING[mode]
    return None


def _kind(module: Mapping[str, Any]) -> str:
    """The class of sentence-transformers or PyLate that a module is; of others' classes the whole path."""
    name = str(module.get("type", ""))
    return name.rsplit(".", maxsplit=1)[-1] if name.startswith(("sentence_transformers.", "pylate.")) else name


def _pooling_settings(source: Path) -> tuple[str, bool]:
    """The mode, several joined by "+", and whether the tokens of a prompt count."""
    settings = dict(read_json(source))
    include_prompt = settings.pop("include_prompt", True)
    for width in ("word_embedding_dimension", "embedding_dimension"):
        settings.pop(width, None)  # of the network, which says it itself
    flags = {key: on for key, on in settings.items() if key.startswith("pooling_mode_")}
    named = settings.pop("pooling_mode", None)
    unknown = sorted(settings.keys() - flags.keys())
    if unknown or not isinstance(include_prompt, bool):
        raise ConfigError(f"{source}: {', '.join(unknown) or f'include_prompt = {include_prompt!r}'} is not supported")
    on = [key.removeprefix("pooling_mode_") for key in flags if flags[key]]
    modes = on if named is None else [named] if isinstance(named, str) else named
    return "+".join(str(mode) for mode in modes) or "mean", include_prompt


def _dense(source: Path, read: str) -> DenseConfig:
    settings = dict(read_json(source))
    sizes = [settings.pop(key, None) for key in ("in_features", "out_features")]
    bias, residual = settings.pop("bias", True), settings.pop("use_residual", False)
    name = settings.pop("activation_function", "torch.nn.modules.activation.Tanh")
    for key in ("module_input_name", "module_output_name"):
        if settings.pop(key, None) not in (None, read):
            raise ConfigError(f"{source}: {key} must be {read!r}")
    if settings:
        raise ConfigError(f"{source}: {', '.join(sorted(settings))} is not supported")
    if not all(isinstance(size, int) and size > 0 for size in sizes) or not {bias, residual} <= {True, False}:
        raise ConfigError(f"{source}: in_features and out_features must be sizes, bias and use_residual true or false")
    if name not in _ACTIVATIONS:
        raise ConfigError(f"{source}: activation_function = {name!r} is not one of {', '.join(sorted(_ACTIVATIONS))}")
    return DenseConfig(*sizes, activation=_ACTIVATIONS[name], bias=bias, residual=residual)


def _prompts(settings: Mapping[str, Any], source: Path) -> dict[str, Any]:
    prompts, default = settings.get("prompts") or {}, settings.get("default_prompt_name")
    if not isinstance(prompts, dict) or not all(isinstance(text, str) for text in prompts.values()):
        raise ConfigError(f"{source}: prompts must map names to texts")
    if default is not None and default not in prompts:
        raise ConfigError(f"{source}: default_prompt_name = {default!r} is not one of {', '.join(sorted(prompts))}")
    return {"prompts": prompts, "default_prompt": default}

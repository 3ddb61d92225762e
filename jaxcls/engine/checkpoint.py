"""A checkpoint as it will be run: everything decided, nothing loaded."""

import dataclasses
from pathlib import Path
from typing import Any

from jaxcls.config.conversion import HeadRows, Words, concatenates, read_words, take_keys
from jaxcls.config.embedder import TRANSFORMER, Embedder, read_embedder, read_pooling
from jaxcls.config.engine import EngineConfig
from jaxcls.config.files import read_json
from jaxcls.config.hf import HfView
from jaxcls.config.labels import Labels
from jaxcls.config.overrides import apply_overrides
from jaxcls.config.pooler import TOKEN_POOLING, PoolerConfig, Pooling
from jaxcls.config.rerankers import Reranker, model_name, published_reranker
from jaxcls.engine.request import TOKEN_TASKS, Task
from jaxcls.errors import ConfigError
from jaxcls.inputs.load_tokenizer import TokenizerFiles, load_tokenizer, token_id
from jaxcls.models.architecture import Architecture, ModelConfig
from jaxcls.models.embedding import embedder_of
from jaxcls.pooling.activation import ScoreActivation, resolve_activation
from jaxcls.pooling.pooler import Pooler
from jaxcls.registry import architecture_names, classifier_name, find_architecture
from weights.hub import resolve

DEMO = "demo"
_OF_TOKENS = "ForTokenClassification"


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """One model directory with the caller's options applied.

    Attributes:
        path: where its files are.
        is_hub: whether they came from the hub.
        values: config.json after overrides.
        name: the architecture's name in it.
        architecture: the registry's entry.
        config: the family's config.
        labels: class names and problem type.
        pooling_type: what is scored, and `pooling_reason` why.
        activation: what turns logits into probs, with its reason.
        pooler_config: the caller's overrides.
        max_len: longest prompt in tokens, and `max_len_reason` why.
        head_rows: the rows of a language model's output matrix that become the head, None: it is the checkpoint's; and
            `head_reason` why.
        embedder: what becomes of hidden states if they are embeddings; None: they are scored.
        tokenizer_files: the tokenizer, where the head was found through it.
        reranker: the published one that this is, None: it is none of them.
        concatenates: whether config.json says that the texts of a pair are joined with nothing between them.
    """

    path: Path
    is_hub: bool
    values: dict[str, Any]
    name: str
    architecture: Architecture
    config: ModelConfig
    labels: Labels
    pooling_type: Pooling
    pooling_reason: str
    activation: ScoreActivation
    pooler_config: PoolerConfig
    max_len: int
    max_len_reason: str
    head_rows: HeadRows | None = None
    head_reason: str = "the checkpoint's own"
    embedder: Embedder | None = None
    tokenizer_files: TokenizerFiles | None = None
    reranker: Reranker | None = None
    concatenates: bool | None = None

    @property
    def use_activation(self) -> bool:
        """Whether requests that do not say get scores rather than logits, or embeddings of length 1."""
        chosen = self.pooler_config.use_activation
        return not self.architecture.raw if chosen is None else chosen

    @property
    def weight_folders(self) -> tuple[str, ...]:
        """Where there are weights beside those of the network."""
        return () if self.embedder is None else tuple(filter(None, self.embedder.folders))

    @property
    def embed_dim(self) -> int:
        """Width of the embeddings."""
        layers = () if self.embedder is None else self.embedder.projection.layers
        return layers[-1].out_dim if layers else self.config.embed_dim

    @property
    def step_tag_id(self) -> int | None:
        """The token whose rows are process rewards; None for other models.

        Raises:
            ConfigError: neither the caller nor the architecture says which it is.
        """
        if self.pooling_type != "STEP":
            return None
        chosen = self.pooler_config.step_tag_id
        tag = self.architecture.step_tag_id if chosen is None else chosen
        if tag is None:
            raise ConfigError("pooling_type='STEP' needs step_tag_id: the token that ends a step of reasoning")
        return tag

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What it can be asked for, its own task first: a head for tokens has not learned to score sequences."""
        tasks: tuple[Task, Task] = ("classify", "token_classify") if self.embedder is None else ("embed", "token_embed")
        return tasks[1:] if self.pooling_type in TOKEN_POOLING else tasks

    def check_task(self, task: Task) -> None:
        """Raises ConfigError if the checkpoint does not do `task`."""
        if task in self.tasks:
            return
        if (task in ("embed", "token_embed")) == (self.embedder is None):
            raise ConfigError(f"{self.name} is loaded as {self._role}")
        one, each, command = ("embeds", "embed", "") if self.embedder else ("scores", "classify", " (`jaxcls tokens`)")
        raise ConfigError(
            f"{self.name} {one} tokens, not texts: use LLM.token_{each}{command}, or encode with "
            f"pooling_task='token_{each}'"
        )

    @property
    def _role(self) -> str:
        if self.embedder is None:
            return "a classifier: for embeddings, load an embedder, or this one's hidden states with convert='embed'"
        return (
            f"an embedder ({self.embedder.reason}): use LLM.embed. To classify, load a checkpoint that was fine-tuned "
            "for it, or start from an untrained head with head_init='zeros' or 'random'"
        )

    def pooler(self, task: Task) -> Pooler:
        """The pooler of a task."""
        return Pooler(
            pooling_type="ALL" if task in TOKEN_TASKS else self.pooling_type,
            activation=self.activation,
            mean=self.pooler_config.mean,
            sigma=self.pooler_config.sigma or 1.0,
            # The last token of an embedder is the last, as in sentence-transformers.
            pad_token_id=self.config.pad_token_id if self.embedder is None else None,
        )


def open_checkpoint(options: EngineConfig) -> Checkpoint:
    """Finds the checkpoint and reads its configuration.

    Raises:
        ConfigError: a config that cannot be honoured.
        CheckpointError: no such directory or hub repository.
    """
    path, is_hub = _locate(options.model, options.revision, options, weights=options.load_format != "dummy")
    config_path = path / "config.json"
    if not config_path.is_file():
        raise ConfigError(f"{path} has no config.json: it is not a Hugging Face checkpoint")
    values = apply_overrides(read_json(config_path), options.hf_overrides)
    declared = _architecture_name(values, config_path)
    reranker = published_reranker(values, declared, str(options.model))
    if reranker is not None and published_reranker(values, declared, "") is None:
        values["_name_or_path"] = model_name(str(options.model))  # so that converted files are known as well
    given = take_keys(values)
    words = read_words(given, values, declared, reranker, options.labels)
    pooler_config = options.pooler_config or PoolerConfig()
    embedder = _embedder(path, values, options, words)
    network = declared if embedder is None or embedder.network is None else embedder.network
    name = classifier_name(network, convert=embedder is not None or options.convert != "none")
    architecture = find_architecture(name)
    if embedder is None:
        values["architectures"] = [name]
    else:
        of_texts = find_architecture(classifier_name(network.replace(_OF_TOKENS, "Model"), convert=True))
        name, architecture = declared, embedder_of(architecture, embedder, of_texts.pooling)
    files, rows = None, None
    if words is not None:
        files = tokenizer_files(path, options)
        rows = _head_rows(words, files)
        _set_labels(values, words.names, words.reason)
    elif pooler_config.returned_token_ids is not None:
        rows = HeadRows(pooler_config.returned_token_ids, "no_post_processing")
        _set_labels(values, tuple(map(str, rows.token_ids)), "returned_token_ids")
    view = HfView(values, source=str(config_path))
    config = architecture.config(view)
    view.finish(name)
    own = architecture.pooling(config) if callable(architecture.pooling) else architecture.pooling
    pooling_type, pooling_reason = _pooling(path, pooler_config, own, name)
    limits = _limits(path, config, embedder)
    any_length = architecture.any_length(config)
    max_len, max_len_reason = _max_len(limits, options.max_model_len, any_length=any_length)
    return Checkpoint(
        path=path,
        is_hub=is_hub,
        values=values,
        name=name,
        architecture=architecture,
        config=config,
        labels=view.labels if embedder is None else Labels((), None),
        pooling_type=pooling_type,
        pooling_reason=pooling_reason,
        activation=resolve_activation(values, view.labels) if embedder is None else _length_one(embedder),
        pooler_config=pooler_config,
        max_len=max_len,
        max_len_reason=max_len_reason,
        head_rows=rows,
        head_reason=_head_reason(words, rows) if embedder is None else _projection(embedder),
        embedder=embedder,
        tokenizer_files=files,
        reranker=reranker,
        concatenates=concatenates(given),
    )


def _embedder(path: Path, values: dict[str, Any], options: EngineConfig, words: Words | None) -> Embedder | None:
    """What the caller says, else what the files do, unless they or the caller ask for a head; None: a classifier."""
    pooler_config = options.pooler_config or PoolerConfig()
    head = {
        "labels or classifier_from_token": words,
        "head_init": options.head_init,
        "returned_token_ids": pooler_config.returned_token_ids,
    }
    asked = [name for name, value in head.items() if value is not None]
    if options.convert == "embed":
        if asked:
            raise ConfigError(f"convert='embed' is for embeddings, {asked[0]} for scores: leave one of them out")
        embedder = read_embedder(path, values) or Embedder()
    elif asked or options.convert == "classify" or _is_classifier(values["architectures"][0]):
        return None
    else:
        embedder = read_embedder(path, values)
    if embedder is not None and (pooler_config.mean, pooler_config.sigma or 1.0) != (0.0, 1.0):
        raise ConfigError("pooler_config: logit_mean and logit_sigma calibrate scores; an embedding has none")
    return embedder


def _is_classifier(name: str) -> bool:
    """Whether a class scores texts. One that scores tokens embeds texts if they are pooled (gte-multilingual-base)."""
    return name in architecture_names() and not name.endswith(_OF_TOKENS)


def _length_one(embedder: Embedder) -> ScoreActivation:
    module = "Normalize" if embedder.normalize else "no Normalize"
    return ScoreActivation("normalize", f"{embedder.reason}: {module}")


def _projection(embedder: Embedder) -> str:
    layers = [f"{x.in_dim} -> {x.out_dim}, {x.activation}" for x in embedder.projection.layers]
    return f"{'; '.join(layers) or 'none'} ({embedder.reason})"


def tokenizer_files(path: Path, options: EngineConfig) -> TokenizerFiles:
    if options.tokenizer is not None:
        path, _ = _locate(options.tokenizer, options.tokenizer_revision, options, weights=False)
    return load_tokenizer(path)


def _head_rows(words: Words, files: TokenizerFiles) -> HeadRows:
    ids = tuple(token_id(files.backend, text, whole=words.whole) for text in words.texts)
    if len(set(ids)) < len(ids):
        raise ConfigError(f"{words.reason}: {list(words.texts)} are not all different tokens: {list(ids)}")
    return HeadRows(ids, words.method, words.divisor)


def _head_reason(words: Words | None, rows: HeadRows | None) -> str:
    if rows is None:
        return "the checkpoint's own"
    who = "returned_token_ids" if words is None else f"{words.reason}, {', '.join(map(repr, words.texts))}"
    divided = "" if rows.divisor == 1 else f" divided by {rows.divisor}"
    return f"rows {', '.join(map(str, rows.token_ids))} of the output matrix{divided}, {rows.method} ({who})"


def _set_labels(values: dict[str, Any], names: tuple[str, ...], reason: str) -> None:
    values["id2label"] = {str(i): name for i, name in enumerate(names)}
    values.pop("label2id", None)
    values.pop("num_labels", None)
    if reason in ("labels", "returned_token_ids"):
        values["problem_type"] = "single_label_classification"


def _locate(name: str | Path, revision: str | None, options: EngineConfig, *, weights: bool) -> tuple[Path, bool]:
    """The directory of a model or tokenizer, and whether it came from the hub."""
    if str(name) == DEMO:
        return Path(__file__).parent.parent / DEMO, False
    found = resolve(
        str(name),
        revision=revision,
        token=options.hf_token,
        cache_dir=options.download_dir,
        local_files_only=options.local_files_only,
        weights=weights,
    )
    return found.path, found.is_hub


def _architecture_name(values: dict[str, Any], path: Path) -> str:
    names = values.get("architectures") or []
    if len(names) != 1:
        raise ConfigError(
            f"{path}: architectures = {names!r} must name one class; say which: "
            "hf_overrides={'architectures': ['BertForSequenceClassification']}, for example"
        )
    return names[0]


def _pooling(path: Path, overrides: PoolerConfig, own: Pooling, name: str) -> tuple[Pooling, str]:
    """PoolerConfig, then sentence-transformers' modules.json, then the architecture."""
    if overrides.pooling_type == "STEP" and own != "STEP" and overrides.returned_token_ids is None:
        raise ConfigError(
            f"pooler_config: the head of {name} was not trained on steps; for a language model that says 'good' or "
            "'bad' after each step, give the ids of the two tokens as returned_token_ids"
        )
    if overrides.pooling_type == "ALL" and own not in TOKEN_POOLING:
        raise ConfigError(
            f"pooler_config: {name} scores texts; for its scores at ALL tokens, encode with "
            "pooling_task='token_classify', for the embeddings of all with 'token_embed'"
        )
    if own in TOKEN_POOLING:
        if overrides.pooling_type == "ALL":
            return "ALL", "pooler_config"
        if overrides.pooling_type not in (None, own):
            raise ConfigError(
                f"pooler_config: {name} scores tokens; pooling_type = {overrides.pooling_type!r} is not one"
            )
        return own, f"default of {name}"
    if overrides.pooling_type is not None:
        return overrides.pooling_type, "pooler_config"
    declared = read_pooling(path)
    if declared is not None:
        return declared, "modules.json"
    return own, f"default of {name}"


def _max_len(limits: list[tuple[int, str]], wanted: int | None, *, any_length: bool) -> tuple[int, str]:
    """The caller's limit, else the smallest of the files'; the first of these is the network's."""
    if wanted is None:
        return min(limits)
    if wanted > limits[0][0] and not any_length:
        raise ConfigError(f"max_model_len = {wanted}, but the checkpoint has positions for {limits[0][0]} tokens")
    return wanted, "max_model_len"


def _limits(path: Path, config: ModelConfig, embedder: Embedder | None) -> list[tuple[int, str]]:
    """What config, tokenizer and sentence-transformers say of the longest prompt."""
    limits = [(config.max_len, "config.json")]
    if embedder is not None and embedder.late is not None:
        # PyLate sets the others to the length of what it last tokenised, and saves that.
        longest = max(embedder.late.query_length, embedder.late.document_length)
        if longest > config.max_len:
            raise ConfigError(f"{path}: texts of {longest} tokens, but positions for {config.max_len}")
        return limits
    files = {TRANSFORMER: "max_seq_length"}
    # Newer sentence-transformers leave their limit to the tokenizer.
    left = embedder is not None and read_json(path / TRANSFORMER).get("max_seq_length") is None
    if config.absolute_positions or left:
        files["tokenizer_config.json"] = "model_max_length"
    for name, key in files.items():
        limit = read_json(path / name).get(key)
        if limit is None:
            continue
        # transformers writes int(1e30) where there is no limit, sometimes as a float.
        if isinstance(limit, bool) or not isinstance(limit, int | float) or limit < 1:
            raise ConfigError(f"{path / name}: {key} = {limit!r} must be a positive number")
        limits.append((int(min(limit, config.max_len)), f"{key} of {name}"))
    return limits

"""What `LLM(model, ...)` would load and why, found out without loading it."""

from collections import Counter
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Unpack

import jax

from jaxcls.config.engine import EngineConfig, EngineOptions, engine_config
from jaxcls.engine.checkpoint import DEMO, Checkpoint, open_checkpoint
from jaxcls.engine.converted import ENTRY, layout, reads_files
from jaxcls.engine.load import AbstractModel, abstract_model, ladder, open_source, rule_table
from jaxcls.engine.tokenizer import pair_prompt
from kernels_cpu import library
from kernels_pallas.mosaic_gpu.target import missing_instructions
from weights import cache
from weights import source as weight_files
from weights.accounting import check_names, scales
from weights.errors import CheckpointError
from weights.hub import resolve


@dataclass(frozen=True)
class Description:
    """A model as it would be loaded.

    Attributes:
        model: What was asked for.
        path: Where its files are.
        commit: The hub's commit, None for a local directory.
        architecture: Its name in config.json, and `summary`, a line about it.
        weight_files: Name -> bytes on disk, of safetensors or converted weights; empty if they are not here.
        weight_dtypes: dtypes in the files, most values first.
        problems: Why the files do not fit the model; None if they do or are not here.
        parameters: How many the model has.
        dtype: Of embeddings, products and weights that are not quantised; norms and head are float32.
        quantization: How the matrices of the layers are held, None: in `dtype`.
        memory_bytes: What the weights take on the device.
        layers: "stacked" or "unrolled".
        token_embedding: "memory", or "file": the token embedding stays there, and its bytes are not counted.
        backend: Where it would run.
        kernels: dtypes that the compiled kernels of this CPU or GPU compute, or why there are none; None elsewhere.
        labels: Class names in the order of the logits, and the `problem_type`.
        head: Where the head comes from.
        pairs: What pairs of texts are put into.
        head: Where the head comes from; of embedders their dense layers.
        embedding_dim: Width of the embeddings, None: it is a classifier.
        prompts: Of an embedder, what may be put before a text, by name; and the `default_prompt`.
        pooling: How a sequence becomes one vector, and `pooling_reason` why.
        activation: What turns logits into scores, and `activation_reason` why.
        use_activation: Whether requests that do not say get scores (or logits).
        logit_mean: Subtracted from the logits; `logit_sigma` divides them.
        max_len: Longest text in tokens, and `max_len_reason` why.
        buckets: The compiled shapes, "rows x tokens".
    """

    model: str
    path: str
    commit: str | None
    architecture: str
    summary: str
    weight_files: dict[str, int]
    weight_dtypes: list[str]
    problems: str | None
    parameters: int
    dtype: str
    quantization: str | None
    memory_bytes: int
    layers: str
    token_embedding: str
    backend: str
    kernels: str | None
    labels: list[str]
    problem_type: str | None
    head: str
    pairs: str
    embedding_dim: int | None
    prompts: dict[str, str]
    default_prompt: str | None
    pooling: str
    pooling_reason: str
    activation: str
    activation_reason: str
    use_activation: bool
    logit_mean: float
    logit_sigma: float
    max_len: int
    max_len_reason: str
    buckets: list[str]


def describe(model: str | Path, **options: Unpack[EngineOptions]) -> Description:
    """What `LLM(model, **options)` would load. Of hub models only the configuration is downloaded.

    Raises:
        ConfigError: an argument or a config.json that cannot be honoured.
        CheckpointError: no such model, or a weight file that is broken.
    """
    config = engine_config(model, dict(options))
    local, commit = _without_weights(config)
    checkpoint = open_checkpoint(local)
    abstract = abstract_model(checkpoint, config, from_files=reads_files(checkpoint, config))
    weights = _weights(checkpoint, abstract, config)
    pooler, embedder = checkpoint.pooler(checkpoint.tasks[0]), checkpoint.embedder
    scale_paths = set(scales(abstract.target).values())
    return Description(
        model=str(model),
        path=str(checkpoint.path),
        commit=commit,
        architecture=checkpoint.name,
        summary=checkpoint.architecture.summary,
        weight_files=weights.files,
        weight_dtypes=weights.dtypes,
        problems=weights.problems,
        parameters=sum(prod(spec.shape) for path, spec in abstract.target.items() if path not in scale_paths),
        dtype=str(abstract.dtype),
        quantization=abstract.quantization,
        memory_bytes=sum(spec.size * spec.dtype.itemsize for spec in abstract.weight_specs(num_tokens=0)),
        layers="stacked" if abstract.stacked else "unrolled",
        token_embedding=abstract.token_embedding,
        backend=jax.default_backend(),
        kernels=_kernels(jax.default_backend()),
        labels=list(checkpoint.labels.names),
        problem_type=checkpoint.labels.problem_type,
        head=checkpoint.head_reason,
        pairs=pair_prompt(checkpoint, config),
        embedding_dim=None if embedder is None else checkpoint.embed_dim,
        prompts={} if embedder is None else dict(embedder.prompts),
        default_prompt=None if embedder is None else embedder.default_prompt,
        pooling=checkpoint.pooling_type,
        pooling_reason=checkpoint.pooling_reason,
        activation=checkpoint.activation.name,
        activation_reason=checkpoint.activation.reason,
        use_activation=checkpoint.use_activation,
        logit_mean=pooler.mean,
        logit_sigma=pooler.sigma,
        max_len=checkpoint.max_len,
        max_len_reason=checkpoint.max_len_reason,
        buckets=[f"{bucket.rows} x {bucket.row_len}" for bucket in ladder(checkpoint, config, abstract.dtype).buckets],
    )


def _kernels(backend: str) -> str | None:
    if backend == "gpu":
        return missing_instructions() or "attention in bfloat16 and float16"
    if backend != "cpu":
        return None
    found = library()
    return "; ".join(filter(None, (", ".join(sorted(found.dtypes)), found.reason))) or "none"


def _without_weights(config: EngineConfig) -> tuple[EngineConfig, str | None]:
    """The same options for the local directory of the model's configuration."""
    if str(config.model) == DEMO:
        return config, None
    found = resolve(
        str(config.model),
        revision=config.revision,
        token=config.hf_token if isinstance(config.hf_token, str) else None,
        cache_dir=config.download_dir,
        local_files_only=config.local_files_only,
        weights=False,
    )
    return config.model_copy(update={"model": found.path, "revision": None}), found.commit


@dataclass(frozen=True)
class _Weights:
    files: dict[str, int]
    dtypes: list[str]
    problems: str | None


def _weights(checkpoint: Checkpoint, model: AbstractModel, config: EngineConfig) -> _Weights:
    """What is known of the weights from the headers of their files."""
    entry = checkpoint.path / ENTRY
    if entry.is_dir():
        return _converted(entry, model)
    single, index = checkpoint.path / weight_files.SINGLE, checkpoint.path / weight_files.INDEX
    names = [weight_files.SINGLE] if single.is_file() else []
    if not names and index.is_file():
        names = sorted(set(weight_files.read_index(index).values()))
    if not names or not all((checkpoint.path / name).is_file() for name in names):
        return _Weights({}, [], None)
    source = open_source(checkpoint)
    shapes = {name: source.shape(name) for name in source.names()}
    dtypes: Counter[str] = Counter()
    for name, shape in shapes.items():
        dtypes[str(source.dtype(name))] += prod(shape)
    problems = None
    try:
        table = rule_table(checkpoint, shapes)
        check_names(shapes, table, model.target, head_init=config.head_init)
    except CheckpointError as error:
        problems = str(error)
    sizes = {name: (checkpoint.path / name).stat().st_size for name in names}
    return _Weights(sizes, [name for name, _ in dtypes.most_common()], problems)


def _converted(entry: Path, model: AbstractModel) -> _Weights:
    """Weights written by `jaxcls convert`."""
    size = sum(file.stat().st_size for file in entry.rglob("*") if file.is_file())
    made, wanted = cache.read_metadata(entry), layout(model)
    problems = None
    if not cache.exists(entry):
        problems = f"{entry} is not complete; convert the model again"
    elif made != wanted:
        arguments = ", ".join(f"{key}={value!r}" for key, value in made.items())
        problems = f"converted to {arguments}, which is not what would be loaded here"
    return _Weights({ENTRY: size}, [str(made["dtype"])], problems)

"""Checkpoint -> module and parameters on the device."""

import dataclasses
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike

from jaxcls.config.engine import EngineConfig, QuantizationName
from jaxcls.engine.buckets import Ladder, make_ladder
from jaxcls.engine.checkpoint import Checkpoint
from jaxcls.errors import CheckpointError, ConfigError
from jaxcls.layers.linear import quantise_layers
from kernels_pallas.platform import traced_for
from kernels_pallas.varlen_attention import exact_on_cpu
from weights.joined import JoinedSource
from weights.loader import Weights, load, load_dummy
from weights.rules import Rule, RuleTable
from weights.source import Source, open_checkpoint

# A language model's output matrix, where it is not the embedding.
_OUTPUT = "lm_head.weight"
_TABLE = "embed.tokens.weight"
_LARGE = 256 << 20  # bytes of a table from which on reading rows, step by step, is worth what it saves
_DTYPES = {"float": jnp.float32, "float32": jnp.float32, "bfloat16": jnp.bfloat16}
_DTYPES |= {"half": jnp.float16, "float16": jnp.float16}


@dataclasses.dataclass(frozen=True)
class AbstractModel:
    """A model without arrays.

    Attributes:
        graphdef: nnx's static half.
        state: nnx's abstract half.
        target: dotted parameter path -> shape and dtype.
        stacked: which layer layout it has.
        dtype: of embeddings, of weights that are not quantised, and of products; norms and head are float32.
        quantization: how the weights of the layers are held, None: in `dtype`.
        table_in_file: whether the token embedding is not among the weights: a step gets the rows of its tokens.
    """

    graphdef: Any
    state: Any
    target: dict[str, jax.ShapeDtypeStruct]
    stacked: bool
    dtype: DTypeLike
    quantization: QuantizationName | None
    table_in_file: bool = False

    @property
    def token_embedding(self) -> Literal["memory", "file"]:
        """Where the token embedding is, as the option of that name says it."""
        return "file" if self.table_in_file else "memory"

    def weight_specs(self, num_tokens: int) -> list[jax.ShapeDtypeStruct]:
        """The leaves of `state`, as a program for so many tokens takes them."""
        specs = dict(self.target)
        if self.table_in_file:
            table = specs[_TABLE]
            specs[_TABLE] = jax.ShapeDtypeStruct((num_tokens, table.shape[1]), table.dtype)
        return jax.tree.leaves(with_weights(self, specs))


def abstract_model(checkpoint: Checkpoint, options: EngineConfig, *, from_files: bool = False) -> AbstractModel:
    """Builds the module under `nnx.eval_shape`; costs no memory.

    Args:
        checkpoint: the checkpoint.
        options: what the caller asks for.
        from_files: the weights will be read from files that stay as they are: a large table may be left in its own.

    Raises:
        ConfigError: options that this model cannot have.
    """
    on_cpu = traced_for() == "cpu"
    if options.dtype == "auto":
        dtype = jnp.dtype(jnp.float32 if on_cpu and options.quantization is None else jnp.bfloat16)
    else:
        dtype = jnp.dtype(_DTYPES[options.dtype])
    stackable = checkpoint.architecture.stacks(checkpoint.config)
    if options.layer_layout == "stacked" and not stackable:
        raise ConfigError(f"layer_layout='stacked': the layers of {checkpoint.name} differ; leave it out")
    stacked = stackable and not on_cpu if options.layer_layout == "auto" else options.layer_layout == "stacked"
    build, config = checkpoint.architecture.build, checkpoint.config

    def make() -> nnx.Module:
        module = build(config, nnx.Rngs(0), dtype, stacked)
        if options.quantization is not None:
            quantise_layers(module, int8_inputs=options.quantization == "w8a8")
        return module

    module: Any = nnx.eval_shape(make)
    in_file = _leaves_in_file(checkpoint, options, from_files and on_cpu, module.embed.tokens.weight.get_value())
    module.embed.tokens.looked_up = in_file
    graphdef, state = nnx.split(module)
    target = {_dotted(path): variable.get_value() for path, variable in nnx.to_flat_state(state)}
    return AbstractModel(graphdef, state, target, stacked, dtype, options.quantization, in_file)


def _leaves_in_file(checkpoint: Checkpoint, options: EngineConfig, possible: bool, table: jax.ShapeDtypeStruct) -> bool:
    """Whether the token embedding stays where it is."""
    rule = next(rule for rule in checkpoint.architecture.weights(checkpoint.config).rules if rule.target == _TABLE)
    possible = possible and all(form.transform == "identity" for form in rule.forms)
    if options.token_embedding == "file" and not possible:
        raise ConfigError(
            "token_embedding='file' is for a CPU, and weights that are read from safetensors: not for those that were "
            "converted, compiled for or made up; leave it out"
        )
    wanted = table.size * table.dtype.itemsize > _LARGE if options.token_embedding == "auto" else True
    return possible and wanted and options.token_embedding != "memory"


def read_weights(checkpoint: Checkpoint, model: AbstractModel, options: EngineConfig) -> dict[str, jax.Array]:
    """The checkpoint's tensors on the device, by parameter path."""
    if options.load_format == "dummy":
        return load_dummy(rule_table(checkpoint, ()), model.target, seed=options.seed)
    source = open_source(checkpoint)
    table = rule_table(checkpoint, source.names())
    return load(source, table, model.target, head_init=options.head_init, seed=options.seed)


def read_all_but_table(checkpoint: Checkpoint, model: AbstractModel, options: EngineConfig) -> Weights:
    """The same, but for the token embedding: that is a `FileTable`."""
    source = open_source(checkpoint)
    table = rule_table(checkpoint, source.names())
    return load(source, table, model.target, head_init=options.head_init, seed=options.seed, in_file=(_TABLE,))


def open_source(checkpoint: Checkpoint) -> Source:
    """The checkpoint's tensors, those of an embedder's dense layers by their folders.

    Raises:
        CheckpointError: files that are missing or broken.
    """
    main = open_checkpoint(checkpoint.path)
    others = {folder: open_checkpoint(checkpoint.path / folder) for folder in checkpoint.weight_folders}
    return JoinedSource(main, others) if others else main


def rule_table(checkpoint: Checkpoint, names: Iterable[str]) -> RuleTable:
    """The rules of a checkpoint that has tensors of these names: its head is its own, or made of its output matrix.

    Raises:
        ConfigError: config.json says that the output matrix is not the embedding, but there is none.
    """
    table = checkpoint.architecture.weights(checkpoint.config)
    if checkpoint.head_rows is None:
        return table
    present = {table.rename(name) for name in names}
    tied = checkpoint.values.get("tie_word_embeddings")
    if tied is False and present and _OUTPUT not in present:
        raise ConfigError(
            f"{checkpoint.path}: tie_word_embeddings is false, but there is no {_OUTPUT} to take rows from"
        )
    embedding = next(rule.source for rule in table.rules if rule.target == "embed.tokens.weight")
    assert isinstance(embedding, str)
    source, transform = embedding if tied or _OUTPUT not in present else _OUTPUT, checkpoint.head_rows.transform
    head = (
        Rule("head.score.weight", source, transform),
        Rule("head.score.bias", _OUTPUT.replace("weight", "bias"), transform, default="zeros"),
    )
    kept = tuple(rule for rule in table.rules if not rule.target.startswith("head."))
    return dataclasses.replace(table, rules=(*kept, *head))


def check_head(arrays: Weights, options: EngineConfig) -> None:
    """Raises CheckpointError if a matrix of the head is all zeros, unless that was asked for."""
    if options.head_init == "zeros":
        return
    for path, array in arrays.items():
        if path.startswith("head.") and path.endswith(".weight") and not np.any(np.asarray(array)):
            raise CheckpointError(
                f"{options.model}: {path} is all zeros, so that all texts score the same. The checkpoint has "
                'not been trained, or was not saved whole; for a head of zeros on purpose, say head_init="zeros"'
            )


def with_weights(model: AbstractModel, arrays: Mapping[str, Any]) -> Any:
    """The nnx State of a model, filled."""
    flat = nnx.to_flat_state(model.state)
    return nnx.from_flat_state([(path, variable.replace(arrays[_dotted(path)])) for path, variable in flat])


def ladder(checkpoint: Checkpoint, options: EngineConfig, dtype: DTypeLike, *, shared: bool = False) -> Ladder:
    """The shapes that this model's steps come in; `shared`: by callers who each wait for their own."""
    # About 512 tokens keep their activations in a CPU's L2 cache. Of half as many a CPU computes 1% fewer in a second,
    # and who comes while a step runs waits half as long.
    default = 8192 if traced_for() != "cpu" else 256 if shared else 512
    max_tokens = options.max_num_batched_tokens or default
    # A kernel that computes nothing masked needs no short rows: one shape does for all full steps.
    exact = checkpoint.config.plain_attention and exact_on_cpu(checkpoint.config.head_dim, dtype)
    short_row = max_tokens if exact else None
    return make_ladder(
        max_len=checkpoint.max_len, max_tokens=max_tokens, max_seqs=options.max_num_seqs, short_row=short_row
    )


def set_compilation_cache(directory: str | Path | bool | None) -> None:
    """Turns JAX's persistent compilation cache on, unless the process already has one.

    Programs of a model compile in well under a second each, which JAX's defaults would not store.
    """
    if directory is False or jax.config.jax_compilation_cache_dir is not None:  # pyright: ignore[reportAttributeAccessIssue]
        return
    path = Path(directory) if isinstance(directory, str | Path) else user_cache("programs")
    private_directory(path)
    jax.config.update("jax_compilation_cache_dir", str(path))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def user_cache(name: str) -> Path:
    """Default place of a cache."""
    return Path.home() / ".cache" / "jaxcls" / name


def private_directory(path: Path) -> None:
    """Makes a directory that only this user can write: what lies there is run or trusted.

    Raises:
        ConfigError: it belongs to, or can be written by, somebody else (checked where the system has such a notion).
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    info = path.stat()
    others = os.name == "posix" and (info.st_uid != os.getuid() or info.st_mode & (stat.S_IWGRP | stat.S_IWOTH))
    if others:
        raise ConfigError(f"cache directory {path} can be written by other users; choose another, or chmod 700 it")


def _dotted(path: tuple[Any, ...]) -> str:
    return ".".join(map(str, path))

"""Every step of a model, compiled for a target: what it needs, what it costs, and the programs themselves."""

import dataclasses
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Unpack

import jax

from jaxcls.aot.cost import Estimate, compile_for, estimate
from jaxcls.aot.targets import Target, find_target, open_mesh, prepare, sharding_of, traced_for
from jaxcls.config.engine import EngineOptions, engine_config
from jaxcls.engine import programs
from jaxcls.engine.batch import empty_batch
from jaxcls.engine.buckets import Bucket
from jaxcls.engine.checkpoint import open_checkpoint
from jaxcls.engine.load import abstract_model, ladder
from jaxcls.engine.paging import open_paging, paged_ladder
from jaxcls.engine.request import Task
from jaxcls.engine.runner import compiler_options, make_step
from jaxcls.errors import ConfigError
from kernels_pallas.platform import device_kind


@dataclasses.dataclass(frozen=True)
class Program:
    """One compiled step.

    Attributes:
        model: as it was asked for.
        target: name of the device, and its `device_kind`.
        task: what it computes.
        bucket: its shape, "rows x tokens", with the pages that a sequence may have.
        num_seqs: the most sequences in it.
        fits: whether one device has the memory.
        memory_bytes: what it needs there: weights, batch, temporaries, results and code; None: the compiler gave up.
        weight_bytes: of the weights alone.
        temporary_bytes: between operations.
        gflops: floating point operations of matrix products and kernels, a multiply-add being two, in 1e9.
        milliseconds: of one step; None: nothing is known of the target's speed.
        estimate_by: "compiler" or "roofline", see `Estimate`.
        tokens_per_second: with every row full.
        mfu: share of the target's bfloat16 peak.
        compile_seconds: what compiling took.
        file: where the program is saved.
        problem: why it does not fit, in the compiler's words.
    """

    model: str
    target: str
    device_kind: str
    task: str
    bucket: str
    num_seqs: int
    fits: bool
    memory_bytes: int | None
    weight_bytes: int
    temporary_bytes: int | None
    gflops: float | None
    milliseconds: float | None
    estimate_by: str | None
    tokens_per_second: float | None
    mfu: float | None
    compile_seconds: float
    file: str | None
    problem: str | None


def compile_model(
    model: str | Path,
    target: str,
    *,
    topology: str | None = None,
    output: Path | None = None,
    buckets: tuple[str, ...] = (),
    tasks: tuple[str, ...] = (),
    **options: Unpack[EngineOptions],
) -> Iterator[Program]:
    """Compiles the programs that `LLM(model, **options)` would, without the device and without the weights.

    Args:
        model: a local directory, a hub id or "demo"; of hub models only the configuration is downloaded.
        target: v5e, v6e, tpu7x, h100 or cpu. This process can use no accelerator any more.
        topology: the slice or hosts that the device is one of, as "2x2"; a program runs on one device.
        output: a directory that is empty or not there, for the programs; `LLM(programs_dir=)` takes it.
        buckets: which shapes, as "16x512"; none: all.
        tasks: what the programs compute, "token_classify" for example; none: what the model is for.
        **options: of `LLM`.

    Raises:
        ConfigError: the target's compiler is not installed, or what else cannot be honoured.
        CheckpointError: no such model.
    """
    where = find_target(target)
    prepare(where)
    mesh = open_mesh(where, topology)
    config = engine_config(model, {**options, "load_format": "dummy"})
    checkpoint = open_checkpoint(config)
    unknown = [task for task in tasks if task not in checkpoint.tasks]
    if unknown:
        raise ConfigError(f"{model} has no task {unknown[0]!r}; it has {', '.join(checkpoint.tasks)}")
    chosen: list[Task] = [task for task in checkpoint.tasks if task in tasks] or [checkpoint.tasks[0]]
    with traced_for(mesh):
        abstract = abstract_model(checkpoint, config)
        steps = ladder(checkpoint, config, abstract.dtype)
        paging = open_paging(checkpoint, config, abstract.dtype, steps)
        steps = paged_ladder(steps, paging, config, checkpoint.max_len)
        pool = None if paging is None else paging.shape
        pages = None if pool is None else pool.spec(sharding_of(mesh))
        shapes = _chosen((*steps.buckets, *steps.paged), buckets)
        kind = device_kind()
    if output is not None:
        if output.exists() and any(output.iterdir()):
            raise ConfigError(f"{output} is not empty")
        output.mkdir(parents=True, exist_ok=True)
        manifest = programs.describe(checkpoint, abstract, pool, kind)
        (output / programs.MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
    specs, structure = jax.tree.flatten(abstract.state)  # the token embedding too: no file is read here
    weight_bytes = sum(spec.size * spec.dtype.itemsize for spec in specs)
    for task in chosen:
        step = make_step(abstract.graphdef, structure, checkpoint.pooler(task), pool, pages)
        for bucket in shapes:
            own = pages if bucket.pages_per_seq else None
            row = _compile(where, mesh, step, (specs, own), bucket, output, task)
            named = {"model": str(model), "target": target, "device_kind": kind, "weight_bytes": weight_bytes}
            yield Program(**named, task=task, bucket=_name(bucket), num_seqs=bucket.num_seqs, **row)


# Of a program that the compiler finds too large.
_UNKNOWN: dict[str, Any] = {
    "fits": False,
    **dict.fromkeys(("memory_bytes", "temporary_bytes", "gflops", "milliseconds", "estimate_by")),
    **dict.fromkeys(("tokens_per_second", "mfu", "file")),
}


def _name(bucket: Bucket) -> str:
    pages = f"+{bucket.pages_per_seq}pages" if bucket.pages_per_seq else ""
    return f"{bucket.rows}x{bucket.row_len}{pages}"


def _chosen(buckets: tuple[Bucket, ...], wanted: tuple[str, ...]) -> list[Bucket]:
    by_name = {_name(bucket): bucket for bucket in buckets}
    unknown = [name for name in wanted if name not in by_name]
    if unknown:
        raise ConfigError(f"there is no bucket {unknown[0]!r}; there are {', '.join(by_name)}")
    return [by_name[name] for name in wanted or by_name]


def _compile(
    target: Target, mesh: Any, step: Any, specs: tuple[list[Any], Any], bucket: Bucket, output: Path | None, task: Task
) -> dict[str, Any]:
    batch = empty_batch(bucket)
    arrays, structure = jax.tree.flatten(batch)
    start = time.perf_counter()
    try:
        traced, compiled = compile_for(
            step, (specs[0], arrays, specs[1]), mesh, compiler_options(target.platform), batch_structure=structure
        )
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return _UNKNOWN | {"compile_seconds": round(time.perf_counter() - start, 1), "problem": str(error)}
    seconds = round(time.perf_counter() - start, 1)
    memory, cost = compiled.memory_analysis(), estimate(traced, compiled, target, mesh)
    needed = (
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        + memory.temp_size_in_bytes
        + memory.generated_code_size_in_bytes
        - memory.alias_size_in_bytes
    )
    fits = target.memory is None or needed <= target.memory
    path = None
    if output is not None:
        path = output / programs.file_name(task, batch)
        programs.save(path, compiled)
    return {
        "fits": fits,
        "memory_bytes": needed,
        "temporary_bytes": memory.temp_size_in_bytes,
        "gflops": round(cost.flops / 1e9, 3),
        **_speed(cost, bucket, target),
        "compile_seconds": seconds,
        "file": None if path is None else path.name,
        "problem": None if fits else f"{needed} bytes are more than the {target.memory} of one {target.name}",
    }


def _speed(cost: Estimate, bucket: Bucket, target: Target) -> dict[str, Any]:
    if cost.seconds is None or target.flops is None:
        return dict.fromkeys(("milliseconds", "estimate_by", "tokens_per_second", "mfu"))
    return {
        "milliseconds": round(1e3 * cost.seconds, 3),
        "estimate_by": cost.source,
        "tokens_per_second": round(bucket.num_tokens / cost.seconds),
        "mfu": round(cost.flops / cost.seconds / target.flops, 4),
    }

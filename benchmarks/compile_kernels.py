"""Compiles every kernel for every accelerator with their real compilers, on a machine that has none of them.

    python -m benchmarks.compile_kernels [--all] [--output FILE] [--targets v5e,h100]

The specs are in kernels_pallas/*/specs.py: those marked lean, or --all. Prints a table, and writes JSON lines. Fails if
one does not compile, copies the pages it writes, or says not what it costs; a target whose compiler is not installed is
skipped, and the reason printed.
"""

import argparse
import importlib
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.machine import ROOT
from benchmarks.ptxas import assembler_report
from jaxcls.aot.targets import TARGETS, Target, find_target, missing

OPS = tuple(sorted(path.parent.name for path in (ROOT / "kernels_pallas").glob("*/specs.py")))
ACCELERATORS = tuple(name for name, target in TARGETS.items() if target.platform != "cpu")


def compile_specs(target: Target, *, everything: bool) -> list[dict[str, Any]]:
    """Compiles for one target; this process can do so for no other any more."""
    from jaxcls.aot.targets import open_mesh, prepare

    prepare(target)
    mesh = open_mesh(target)
    specs = [spec for op in OPS for spec in importlib.import_module(f"kernels_pallas.{op}.specs").SPECS]
    chosen = [spec for spec in specs if target.platform in spec.implementations and (spec.lean or everything)]
    return [compile_spec(spec, target, mesh) for spec in chosen]


def compile_spec(spec: Any, target: Target, mesh: Any) -> dict[str, Any]:
    """One row of the table.

    Raises:
        SystemExit: the kernel's result is not where it should be, or it does not say what it costs.
    """
    import jax
    from jax.experimental.layout import Format, Layout

    from jaxcls.aot.cost import compile_for, estimate

    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    arguments = list(spec.arguments)
    for index in spec.row_major:
        x = arguments[index]
        row_major = Format(Layout(tuple(range(len(x.shape)))), sharding)
        arguments[index] = jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=row_major)
    options = {} if spec.donated is None else {"donate_argnums": spec.donated, "out_shardings": row_major}

    def call(*arguments: Any) -> Any:
        return spec.call(*arguments, implementation=spec.implementations[target.platform])

    start = time.perf_counter()
    with assembler_report() as assembled:
        traced, compiled = compile_for(jax.jit(call, **options), arguments, mesh)
    seconds = time.perf_counter() - start
    memory, cost = compiled.memory_analysis(), estimate(traced, compiled, target, mesh)
    if spec.donated is not None and memory.alias_size_in_bytes < arguments[spec.donated].size:
        raise SystemExit(f"{spec.op}, {spec.name}: the pages are copied")
    if spec.donated is None and cost.flops == 0:
        raise SystemExit(f"{spec.op}, {spec.name}: the kernel does not say what it costs")
    return {
        "target": target.name,
        "op": spec.op,
        "spec": spec.name,
        "arguments_mib": round(memory.argument_size_in_bytes / 2**20, 1),
        "temporaries_mib": round(memory.temp_size_in_bytes / 2**20, 1),
        "gflops": round(cost.flops / 1e9, 1),
        "estimated_us": None if cost.seconds is None else round(1e6 * cost.seconds, 1),
        "estimate_by": cost.source,
        "registers": assembled.get("registers"),
        "spilled_bytes": assembled.get("spilled_bytes"),
        "compile_s": round(seconds, 1),
    }


def in_process(name: str, *, everything: bool) -> list[dict[str, Any]]:
    """`compile_specs` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.compile_kernels", "--target", name, *(["--all"] if everything else [])]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if result.returncode:
        raise SystemExit(f"{name}: a kernel does not compile, see above")
    return json.loads(result.stdout.splitlines()[-1])


def print_table(rows: list[dict[str, Any]]) -> None:
    """Rows under the names of their columns."""
    cells = [list(rows[0]), *(["-" if value is None else str(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        print("  ".join(value.ljust(width) for value, width in zip(row, widths, strict=True)).rstrip())


def main() -> None:
    """Compiles for every target and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", help="compile for this one, in this process; prints JSON")
    parser.add_argument("--targets", default=",".join(ACCELERATORS), help="with commas; default: all")
    parser.add_argument("--all", action="store_true", help="every spec, not only the lean ones")
    parser.add_argument("--output", type=Path, help="write JSON lines here")
    arguments = parser.parse_args()
    if arguments.target:
        print(json.dumps(compile_specs(find_target(arguments.target), everything=arguments.all)))
        return
    reasons = {name: missing(find_target(name)) for name in arguments.targets.split(",")}
    for name, reason in reasons.items():
        if reason is not None:
            print(f"skipped {name}: {reason}", flush=True)
    names = [name for name, reason in reasons.items() if reason is None]
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda name: in_process(name, everything=arguments.all), names))
    rows = [row for result in results for row in result]
    if rows:
        print_table(rows)
    if arguments.output and rows:
        arguments.output.write_text("".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    main()

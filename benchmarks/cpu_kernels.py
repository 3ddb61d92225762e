"""The compiled CPU kernels against the same ops as XLA programs, in one interleaved run.

`python -m benchmarks.cpu_kernels [--rounds 9] [--output results.jsonl]`. Two threads call an op at the same time, as
two steps do. Rates count what has to be multiplied: padding and masked scores are not work. Of norms and rotations they
count values; a rotation's cosines and sines are made in the same program, as in a model's first layer.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.machine import machine
from jaxcls.layers.rope import RopeConfig, cos_sin
from kernels_pallas.linear import linear
from kernels_pallas.norm import norm
from kernels_pallas.rotate import rotate
from kernels_pallas.varlen_attention import varlen_attention

TOKENS, STREAMS = 512, 2
# in, out: the matrices of MiniLM and bert-base.
MATRICES = ((384, 384), (384, 1536), (1536, 384), (768, 768), (768, 3072), (3072, 768))
# Row groups and the lengths of the sequences in a row; 12 heads of 32 and 64.
LAYOUTS = {"25 tokens": ((4, 128), 25), "100 tokens": ((4, 128), 100), "250 tokens": ((1, 512), 250)}
HEADS, HEAD_DIMS = 12, (32, 64)
# Widths of MiniLM, bert-base and Qwen3-0.6B, whose queries and keys are 24 heads of 128.
WIDTHS = (384, 768, 1024)
ROTATED_HEADS, ROTATED_DIM = 24, 128

Call = Callable[[], jax.Array]


def main() -> None:
    """Measures and prints; one JSON line a case goes to --output."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    rows = [{"kind": "machine", **machine(STREAMS)}]
    for op, case, dtype, work, calls in (*_linear_cases(), *_attention_cases(), *_token_cases()):
        rates = measure(calls, work, arguments.rounds)
        ratio = statistics.median(a / b for a, b in zip(rates["cpu"], rates["xla"], strict=True))
        medians = {name: round(statistics.median(found) / 1e9, 1) for name, found in rates.items()}
        rows.append(
            {"kind": "kernel", "op": op, "case": case, "dtype": dtype, "gflops": medians, "ratio": round(ratio, 2)}
        )
        print(
            f"{op:10s} {case:14s} {dtype:9s} kernel {medians['cpu']:7.1f}  XLA {medians['xla']:7.1f}  {ratio:5.2f}x",
            flush=True,
        )
    if arguments.output:
        arguments.output.write_text("".join(json.dumps(row) + "\n" for row in rows))


def measure(calls: dict[str, Call], work: float, rounds: int) -> dict[str, list[float]]:
    """Operations a second of each call, round by round."""
    repeats = max(2, int(1e9 / work))
    rates: dict[str, list[float]] = {name: [] for name in calls}
    with ThreadPoolExecutor(STREAMS) as pool:
        for call in calls.values():
            call().block_until_ready()
        for _ in range(rounds):
            for name, call in calls.items():
                start = time.perf_counter()
                list(pool.map(lambda _, call=call: _repeat(call, repeats), range(STREAMS)))
                rates[name].append(work * repeats * STREAMS / (time.perf_counter() - start))
    return rates


def _repeat(call: Call, times: int) -> None:
    for _ in range(times):
        call().block_until_ready()


def _linear_cases() -> list[tuple[str, str, str, float, dict[str, Call]]]:
    """A linear layer with bias and GELU."""
    cases = []
    rng = np.random.default_rng(0)
    for in_dim, out_dim in MATRICES:
        x, weight = rng.normal(size=(TOKENS, in_dim)), rng.normal(size=(out_dim, in_dim))
        scale = np.abs(weight).max(axis=1) / 127
        whole = jnp.asarray(np.round(weight / scale[:, None]), jnp.int8)
        bias = jnp.zeros(out_dim)
        for name in ("float32", "bfloat16", "int8", "w8a8"):
            dtype = jnp.dtype("float32" if name == "float32" else "bfloat16")
            quantised = name in ("int8", "w8a8")
            operands: Any = (
                jnp.asarray(x, dtype),
                whole if quantised else jnp.asarray(weight, dtype),
                jnp.asarray(scale, jnp.float32) if quantised else None,
                bias,
            )
            options: Any = {"activation": "gelu", "int8_inputs": name == "w8a8", "dtype": dtype, "out_dtype": dtype}
            calls = {i: partial(linear, *operands, **options, implementation=i) for i in ("cpu", "xla")}
            cases.append(("linear", f"{in_dim} x {out_dim}", name, 2.0 * TOKENS * in_dim * out_dim, calls))
    return cases


def _attention_cases() -> list[tuple[str, str, str, float, dict[str, Call]]]:
    """Bidirectional attention over rows filled with sequences of one length."""
    cases = []
    rng = np.random.default_rng(0)
    for head_dim in HEAD_DIMS:
        for name, (group, length) in LAYOUTS.items():
            rows, row_len = group
            inside = np.arange(row_len) // length
            segments = np.where(inside < row_len // length, inside + 1000 * np.arange(rows)[:, None], -1).reshape(-1)
            work = 4.0 * rows * (row_len // length) * length**2 * HEADS * head_dim
            for dtype in ("float32", "bfloat16"):
                operands = [jnp.asarray(rng.normal(size=(TOKENS, HEADS, head_dim)), dtype) for _ in range(3)]
                operands.append(jnp.asarray(segments, jnp.int32))
                options: Any = {"row_groups": (group,), "scale": head_dim**-0.5, "causal": False}
                calls: dict[str, Call] = {}
                for implementation in ("cpu", "xla"):
                    step = jax.jit(partial(varlen_attention, **options, implementation=implementation))
                    calls[implementation] = partial(step, *operands)
                cases.append(("attention", f"{name}, {head_dim}", dtype, work, calls))
    return cases


def _token_cases() -> list[tuple[str, str, str, float, dict[str, Call]]]:
    """Norms, and the rotation of queries and keys."""
    cases = []
    rng = np.random.default_rng(0)
    for width in WIDTHS:
        x, weight = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((TOKENS, width), (width,)))
        for name, centred in (("LayerNorm", True), ("RMSNorm", False)):
            step = partial(norm, x, weight, eps=1e-6, centred=centred)
            calls: dict[str, Call] = {i: partial(step, implementation=i) for i in ("cpu", "xla")}
            cases.append((name, str(width), "float32", float(x.size), calls))
    heads = jnp.asarray(rng.normal(size=(TOKENS, ROTATED_HEADS, ROTATED_DIM)), jnp.float32)
    positions = jnp.arange(TOKENS)

    def turn(heads: jax.Array, positions: jax.Array, implementation: Any) -> jax.Array:
        angles = cos_sin(RopeConfig(ROTATED_DIM, 1e6), positions, positions)
        return rotate(heads, *angles, implementation=implementation)

    calls = {i: partial(jax.jit(partial(turn, implementation=i)), heads, positions) for i in ("cpu", "xla")}
    cases.append(("rotate", f"{ROTATED_HEADS} x {ROTATED_DIM}", "float32", float(heads.size), calls))
    return cases


if __name__ == "__main__":
    main()

"""The attention kernels on this machine's GPU: how fast, how exact, and what others need for the same.

    python -m benchmarks.kernels [--seconds 0.5] [--output FILE] [--tune]

First the ceilings: the rate of a large bfloat16 product, and of copying memory. Then each case by our kernel, by XLA,
by `jax.nn.dot_product_attention(implementation="cudnn")`, and by torch's scaled_dot_product_attention if torch is
installed. The last two take sequences of one length only, and no pages; where one cannot, its row has the reason. Work
counts the pairs of tokens that see each other, and each operand read once. Errors are the largest distance from the
same inputs attended in float32. With --tune, our kernel with other block sizes instead: what to put into
`kernels_pallas/*/blocks/gpu.json`.
"""

import argparse
import dataclasses
import itertools
import json
import math
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import commit

Call = Callable[[], Any]
PAGE_SIZE = 32


@dataclasses.dataclass(frozen=True)
class Case:
    """Sequences of (new tokens, all tokens); where these differ, the rest lies in pages."""

    name: str
    lens: tuple[tuple[int, int], ...]
    heads: int
    kv_heads: int
    head_dim: int
    causal: bool = True
    window: int | None = None
    soft_cap: float | None = None

    @property
    def paged(self) -> bool:
        """Whether some tokens are in pages only."""
        return any(new != total for new, total in self.lens)

    @property
    def uniform(self) -> bool:
        """Whether all sequences have one length."""
        return not self.paged and len(set(self.lens)) == 1

    @property
    def tokens(self) -> int:
        """New tokens."""
        return sum(new for new, _ in self.lens)

    @property
    def flops(self) -> float:
        """Operations of both products, over the pairs that see each other."""
        pairs = 0
        for new, total in self.lens:
            at = np.arange(total - new, total)
            first = np.zeros_like(at) if self.window is None else np.maximum(at - self.window + 1, 0)
            far = at + (self.window or total)
            pairs += int((np.where(self.causal, at + 1, np.minimum(far, total)) - first).sum())
        return 4.0 * pairs * self.heads * self.head_dim

    @property
    def bytes(self) -> float:
        """Queries and outputs of new tokens, keys and values of all, 16 bits each."""
        totals = sum(total for _, total in self.lens)
        return 4.0 * self.head_dim * (self.tokens * self.heads + totals * self.kv_heads)


def same(count: int, length: int) -> tuple[tuple[int, int], ...]:
    """Sequences of one length, all new."""
    return ((length, length),) * count


CASES = (
    Case("MiniLM, 64 x 128", same(64, 128), 12, 12, 32, causal=False),
    Case("bert-base, 64 x 128", same(64, 128), 12, 12, 64, causal=False),
    Case("bert-base, 16 x 512", same(16, 512), 12, 12, 64, causal=False),
    Case("ModernBERT, 2 x 4096, window 65", same(2, 4096), 12, 12, 64, causal=False, window=65),
    Case("ModernBERT, 1 x 8192", same(1, 8192), 12, 12, 64, causal=False),
    Case("bert-base, 8 to 500", tuple((n, n) for n in range(8, 500, 12)), 12, 12, 64, causal=False),
    Case("Qwen3-0.6B, 64 x 128", same(64, 128), 16, 8, 128),
    Case("Qwen3-0.6B, 16 x 512", same(16, 512), 16, 8, 128),
    Case("Qwen3-0.6B, 2 x 4096", same(2, 4096), 16, 8, 128),
    Case("Qwen3-8B, 1 x 8192", same(1, 8192), 32, 8, 128),
    Case("Qwen2.5-0.5B, 16 x 512", same(16, 512), 14, 2, 64),
    Case("Gemma2-2B, 2 x 4096", same(2, 4096), 8, 4, 256, window=4096, soft_cap=50.0),
    Case("Qwen3-0.6B, 1 query x 50 documents", ((256, 256), *(((96, 256),) * 49)), 16, 8, 128),
    Case("Qwen3-0.6B, 64 texts of 24 after 1024", ((24, 1048),) * 64, 16, 8, 128),
    Case("Qwen3-8B, 2048 after 30720", ((2048, 32768),), 32, 8, 128),
)


def main() -> None:
    """Measures and prints; one JSON line a case and implementation goes to --output."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each measurement")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--tune", action="store_true", help="our kernel with many block sizes, nothing else")
    arguments = parser.parse_args()
    # Half of the memory is torch's.
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", ".45")
    device = require_gpu()
    tops = ceilings(arguments.seconds)
    rows: list[dict[str, Any]] = [{"kind": "device", "device": device, "commit": commit(), **tops}]
    print(json.dumps(rows[0]), flush=True)
    for case in CASES:
        exact, calls = tuned(case) if arguments.tune else implementations(case)
        for name, call in calls.items():
            rows.append({"kind": "kernel", "device": device, "case": case.name, "implementation": name})
            rows[-1] |= measured(case, call, exact, tops, arguments.seconds)
            print(json.dumps(rows[-1]), flush=True)
    if arguments.output:
        arguments.output.write_text("".join(json.dumps(row) + "\n" for row in rows))


def require_gpu() -> str:
    """What the vendor calls the GPU.

    Raises:
        SystemExit: jax sees none; says what it sees.
    """
    import jax

    if jax.default_backend() != "gpu":
        raise SystemExit(
            f"no GPU: jax sees {jax.devices()[0].device_kind!r} ({jax.default_backend()}); nothing was run"
        )
    return jax.devices()[0].device_kind


def seconds_a_call(call: Call, seconds: float) -> float:
    """Wall time of a call among many in a row, after a first one that may compile."""
    wait(call())
    start = time.perf_counter()
    wait(call())
    count = max(3, min(1000, int(seconds / max(time.perf_counter() - start, 1e-6))))
    start = time.perf_counter()
    for _ in range(count):
        result = call()
    wait(result)
    return (time.perf_counter() - start) / count


def wait(result: Any) -> None:
    """Until it is there, jax's or torch's."""
    if hasattr(result, "block_until_ready"):
        result.block_until_ready()
    else:
        sys.modules["torch"].cuda.synchronize()


def ceilings(seconds: float) -> dict[str, float]:
    """The best rate of bfloat16 products (TFLOP/s) and of copying (GB/s, read and written)."""
    import jax
    import jax.numpy as jnp

    square = jnp.ones((8192, 8192), jnp.bfloat16)
    product = jax.jit(lambda x: jnp.dot(x, x, preferred_element_type=jnp.bfloat16))
    long = jnp.ones(2**29, jnp.bfloat16)
    copy = jax.jit(lambda x: x + 1)
    matmul_s = min(seconds_a_call(partial(product, square), seconds) for _ in range(3))
    copy_s = min(seconds_a_call(partial(copy, long), seconds) for _ in range(3))
    return {"matmul_tflops": round(2 * 8192**3 / matmul_s / 1e12, 1), "copy_gbs": round(4 * 2**29 / copy_s / 1e9)}


def measured(case: Case, call: Call | str, exact: np.ndarray, tops: dict[str, float], seconds: float) -> dict[str, Any]:
    """Time, rate, shares of the ceilings, error; of a call that cannot, the reason."""
    if isinstance(call, str):
        return {"reason": call}
    try:
        error = float(np.abs(as_numpy(call()) - exact).max())
        took = seconds_a_call(call, seconds)
    except Exception as problem:  # What others cannot is part of the result.
        return {"reason": f"{type(problem).__name__}: {str(problem).splitlines()[0][:200]}"}
    tflops, gbs = case.flops / took / 1e12, case.bytes / took / 1e9
    return {
        "ms": round(1e3 * took, 4),
        "tflops": round(tflops, 1),
        "matmul_share": round(tflops / tops["matmul_tflops"], 3),
        "copy_share": round(gbs / tops["copy_gbs"], 3),
        "error": float(f"{error:.2g}"),
    }


def as_numpy(result: Any) -> np.ndarray:
    """[T N H] in float32."""
    return (result.float().cpu().numpy() if hasattr(result, "cpu") else np.asarray(result, np.float32)).reshape(
        -1, *result.shape[-2:]
    )


def implementations(case: Case) -> tuple[np.ndarray, dict[str, Call | str]]:
    """What float32 gives, and the calls."""
    ours, exact = our_calls(case, ("gpu", "xla"))
    return exact, {**ours, "cudnn": jax_call(case, "cudnn"), "torch": torch_call(case, "cuda")}


def our_calls(case: Case, names: tuple[str, ...]) -> tuple[dict[str, Call | str], np.ndarray]:
    """Our op's implementations on the case's inputs."""
    import jax
    import jax.numpy as jnp

    op, operands, options = paged_inputs(case) if case.paged else packed_inputs(case)
    wide = [x.astype(jnp.float32) if jnp.issubdtype(x.dtype, jnp.floating) else x for x in operands]
    exact = as_numpy(jax.jit(partial(op, **options, implementation="xla"))(*wide))
    calls = {n: partial(jax.jit(partial(op, **options, implementation=n)), *operands) for n in names}
    return calls, exact[: case.tokens]


def packed_inputs(case: Case) -> tuple[Any, list[Any], dict[str, Any]]:
    """One stream, in rows of equal sequences, or a single one."""
    import jax.numpy as jnp

    from kernels_pallas.varlen_attention import varlen_attention

    lengths = [new for new, _ in case.lens]
    segments = np.repeat(np.arange(len(lengths)), lengths).astype(np.int32)
    rows = ((len(lengths), lengths[0]),) if case.uniform else ((1, len(segments)),)
    options = {"row_groups": rows, "scale": case.head_dim**-0.5, "causal": case.causal}
    options |= {"window": case.window, "soft_cap": case.soft_cap}
    return varlen_attention, [*qkv(case), jnp.asarray(segments)], options


def paged_inputs(case: Case) -> tuple[Any, list[Any], dict[str, Any]]:
    """New tokens in one stream, all keys and values in pages that lie in no order."""
    import jax.numpy as jnp

    from kernels_pallas.ragged_paged_attention import ragged_paged_attention

    rng = np.random.default_rng(0)
    counts = [-(-total // PAGE_SIZE) for _, total in case.lens]
    order, pages = rng.permutation(sum(counts)), np.zeros((len(counts), max(counts)), np.int32)
    for row, (count, end) in enumerate(zip(counts, np.cumsum(counts), strict=True)):
        pages[row, :count] = order[end - count : end]
    pool = rng.standard_normal((sum(counts), PAGE_SIZE, 2 * case.kv_heads, case.head_dim), np.float32)
    kv_lens, ends = [total for _, total in case.lens], np.cumsum([0, *(new for new, _ in case.lens)])
    tables = [np.asarray(x, np.int32) for x in (kv_lens, pages, ends, [len(counts)])]
    operands = [qkv(case)[0], jnp.asarray(pool, jnp.bfloat16), *map(jnp.asarray, tables)]
    return (
        ragged_paged_attention,
        operands,
        {"scale": case.head_dim**-0.5, "window": case.window, "soft_cap": case.soft_cap},
    )


def qkv(case: Case) -> list[Any]:
    """Random queries, keys and values of the new tokens."""
    import jax.numpy as jnp

    rng = np.random.default_rng(1)
    shapes = [(case.tokens, n, case.head_dim) for n in (case.heads, case.kv_heads, case.kv_heads)]
    return [jnp.asarray(rng.standard_normal(shape, np.float32), jnp.bfloat16) for shape in shapes]


def dense_reason(case: Case) -> str | None:
    """Why the case is none for attention over equal rows."""
    if case.soft_cap is not None:
        return "scores are capped"
    return None if case.uniform else "pages" if case.paged else "sequences of different lengths"


def jax_call(case: Case, implementation: str) -> Call | str:
    """Attention of `jax.nn`."""
    import jax

    reason = dense_reason(case)
    if reason is not None:
        return reason
    rows = [x.reshape(len(case.lens), -1, *x.shape[1:]) for x in qkv(case)]
    options: dict[str, Any] = {"scale": case.head_dim**-0.5, "is_causal": case.causal, "implementation": implementation}
    if case.window is not None:
        options["local_window_size"] = (case.window - 1, 0 if case.causal else case.window - 1)
    return partial(jax.jit(partial(jax.nn.dot_product_attention, **options)), *rows)


def torch_call(case: Case, device: str) -> Call | str:
    """Attention of torch."""
    try:
        import torch
    except ImportError:
        return "torch is not installed"
    reason = dense_reason(case) or (None if case.window is None else "a window")
    if reason is not None:
        return reason
    rows = [torch.from_numpy(np.asarray(x, np.float32)).to(device, torch.bfloat16) for x in qkv(case)]
    q, k, v = (x.reshape(len(case.lens), -1, *x.shape[1:]).transpose(1, 2) for x in rows)
    attend = torch.nn.functional.scaled_dot_product_attention
    options: dict[str, Any] = {"is_causal": case.causal, "enable_gqa": case.heads != case.kv_heads}
    return lambda: attend(q, k, v, **options).transpose(1, 2)


def tuned(case: Case) -> tuple[np.ndarray, dict[str, Call | str]]:
    """Our kernel with each choice of block sizes."""
    import jax

    from kernels_pallas.mosaic_gpu.tiles import Limits
    from kernels_pallas.ragged_paged_attention import gpu as paged
    from kernels_pallas.varlen_attention import gpu as packed

    _, exact = our_calls(case, ())
    op, operands, options = paged_inputs(case) if case.paged else packed_inputs(case)
    op = paged.ragged_paged_attention if case.paged else packed.varlen_attention
    options = options if case.paged else {**options, "key_segment_ids": None}
    calls: dict[str, Call | str] = {}
    heads = [1 << i for i in range(int(math.log2(min(case.heads // case.kv_heads, 16))) + 1)]
    for most, keys, stages in itertools.product(heads, (64, 128), (2, 3, 4)):
        limits = Limits(most, keys, min(keys, 64), stages)
        name = json.dumps(dataclasses.asdict(limits))
        calls[name] = partial(jax.jit(partial(op, **options, limits=limits)), *operands)
    return exact, calls


if __name__ == "__main__":
    main()

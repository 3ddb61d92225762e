"""Does the layout of a weight matter? [in, out] against the checkpoint's [out, in], GFLOP/s at encoder shapes.

    python benchmarks/matmul_layout.py

The two are timed in turn; the ratio is what to look at, absolute figures follow the machine.
"""

import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp

SHAPES = ((512, 384, 1536), (512, 768, 768), (512, 768, 3072), (512, 3072, 768))
ROUNDS = 40


def product(contract: int) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """A jitted x @ w over axis `contract` of w."""

    @jax.jit
    def run(x: jax.Array, w: jax.Array) -> jax.Array:
        return jax.lax.dot_general(x, w, (((1,), (contract,)), ((), ())), preferred_element_type=jnp.float32)

    return run


def main() -> None:
    """Prints one line a dtype and shape: median rates and the median of the pairwise ratios."""
    in_out, out_in = product(0), product(1)
    print(f"{'dtype':9} {'T x in x out':16} {'[in, out]':>10} {'[out, in]':>10}  ratio (median, min-max)")
    for dtype in (jnp.float32, jnp.bfloat16):
        for tokens, fan_in, fan_out in SHAPES:
            x = jax.random.normal(jax.random.key(0), (tokens, fan_in), dtype)
            weight = jax.random.normal(jax.random.key(1), (fan_out, fan_in), dtype)
            pairs = [(time_once(in_out, x, weight.T.copy()), time_once(out_in, x, weight)) for _ in range(ROUNDS)][5:]
            flops = 2e-9 * tokens * fan_in * fan_out
            a, b = (flops / statistics.median(column) for column in zip(*pairs, strict=True))
            ratios = sorted(p / q for p, q in pairs)
            spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})"
            print(f"{jnp.dtype(dtype).name:9} {f'{tokens} x {fan_in} x {fan_out}':16} {a:10.0f} {b:10.0f}  {spread}")


def time_once(run: Callable[[jax.Array, jax.Array], jax.Array], x: jax.Array, w: jax.Array) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    run(x, w).block_until_ready()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()

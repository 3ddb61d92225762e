"""What benchmarks/kernels.py counts and compares; no GPU is needed for that."""

import subprocess
import sys

import jax
import numpy as np
import pytest

from benchmarks.kernels import CASES, Case, as_numpy, jax_call, measured, our_calls, same, torch_call

DENSE = Case("dense", same(2, 16), 4, 2, 32)
WINDOW = Case("window", same(2, 16), 4, 4, 32, causal=False, window=3)
PAGED = Case("paged", ((3, 40), (5, 5)), 4, 2, 32)


@pytest.mark.parametrize("case", [DENSE, WINDOW, PAGED, Case("mixed", ((4, 9),), 2, 1, 16, window=3)], ids=str)
def test_work_is_the_pairs_that_see_each_other(case: Case) -> None:
    pairs = sum(
        (k <= q or not case.causal) and (case.window is None or abs(q - k) < case.window)
        for new, total in case.lens
        for q in range(total - new, total)
        for k in range(total)
    )
    assert case.flops == 4.0 * pairs * case.heads * case.head_dim


@pytest.mark.parametrize("case", [DENSE, WINDOW, PAGED], ids=lambda case: case.name)
def test_the_implementations_get_the_same_inputs(case: Case) -> None:
    calls, exact = our_calls(case, ("xla",))
    assert exact.shape == (case.tokens, case.heads, case.head_dim)
    assert np.abs(exact).max() > 0.5
    found = {**calls, "jax": jax_call(case, "xla"), "torch": torch_call(case, "cpu")}
    for name, call in found.items():
        if isinstance(call, str):
            assert (case.paged or case.window) or call == "torch is not installed", name
        else:
            np.testing.assert_allclose(as_numpy(call()), exact, atol=3e-2, err_msg=name)


def test_a_row_has_numbers_or_a_reason() -> None:
    calls, exact = our_calls(DENSE, ("xla", "gpu"))
    tops = {"matmul_tflops": 1.0, "copy_gbs": 1.0}
    row = measured(DENSE, calls["xla"], exact, tops, 0.01)
    assert set(row) == {"ms", "tflops", "matmul_share", "copy_share", "error"}
    assert row["error"] < 3e-2
    if jax.default_backend() == "cpu":
        assert "Hopper" in measured(DENSE, calls["gpu"], exact, tops, 0.01)["reason"]
    assert measured(DENSE, "no pages", exact, tops, 0.01) == {"reason": "no pages"}


def test_names_of_cases_differ() -> None:
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.skipif(jax.default_backend() == "gpu", reason="there is a GPU, and its checks take minutes")
@pytest.mark.parametrize("module", ["benchmarks.kernels", "benchmarks.gpu_checks"])
def test_without_a_gpu_it_says_so(module: str) -> None:
    done = subprocess.run([sys.executable, "-m", module], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "no GPU: jax sees" in done.stderr

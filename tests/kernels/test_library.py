"""The compiled kernels: present where they can be, and said why not elsewhere."""

import platform
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import pytest

from kernels_cpu import library
from kernels_cpu.build import CannotCompile, compile_library
from kernels_pallas.linear import linear
from kernels_pallas.varlen_attention import varlen_attention


def test_a_missing_dtype_has_a_reason() -> None:
    found = library()
    assert found.dtypes <= {"float32", "bfloat16"}
    assert bool(found.reason) == (found.dtypes != {"float32", "bfloat16"})


def test_kernels_are_there_where_they_can_be() -> None:
    flags = Path("/proc/cpuinfo").read_text() if sys.platform == "linux" else ""
    able = platform.machine() == "x86_64" and {"avx512bw", "avx512_bf16"} <= set(flags.split())
    if able and (shutil.which("c++") or shutil.which("g++")):
        assert library().dtypes == {"float32", "bfloat16"}, library().reason
    elif not able:
        assert "bfloat16" not in library().dtypes


def test_without_a_compiler_there_is_a_reason_and_no_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(CannotCompile, match=r"no C\+\+ compiler|no kernels for"):
        compile_library(tmp_path / "kernels.so")
    assert not (tmp_path / "kernels.so").exists()


def test_a_compiler_that_fails_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "c++"
    broken.write_text("#!/bin/sh\necho this compiler is too old >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CXX", str(broken))
    with pytest.raises(CannotCompile, match=r"this compiler is too old|no kernels for"):
        compile_library(tmp_path / "kernels.so")


@pytest.mark.parametrize("platform_name", ["cpu", "tpu", "cuda"])
def test_only_cpus_get_the_kernels(platform_name: str) -> None:
    x = jax.ShapeDtypeStruct((64, 64), jnp.float32)
    q, segments = jax.ShapeDtypeStruct((64, 4, 32), jnp.float32), jax.ShapeDtypeStruct((64,), jnp.int32)
    attention = partial(varlen_attention, row_groups=((1, 64),), scale=1.0, causal=True)
    programs: dict[str, Any] = {
        "jaxcls_linear": (partial(linear, dtype=jnp.float32), (x, x)),
        "jaxcls_attention": (lambda q, s: attention(q, q, q, s), (q, segments)),
    }
    for target, (function, arguments) in programs.items():
        allowed = [jax.export.DisabledSafetyCheck.custom_call(target)]
        export = jax.export.export(jax.jit(function), platforms=[platform_name], disabled_checks=allowed)
        expected = platform_name == "cpu" and "float32" in library().dtypes
        assert (target in export(*arguments).mlir_module()) == expected

"""`convert`, and the cache of converted hub models."""

import logging
import shutil
from pathlib import Path

import pytest

from jaxcls import LLM
from jaxcls.engine.converted import ENTRY, convert
from jaxcls.errors import CheckpointError, ConfigError
from tests.tiny import QWEN3, write_checkpoint

COMMIT = "1f" * 20


def test_a_converted_directory_gives_the_same_rows(qwen_path: Path, qwen: LLM, tmp_path: Path) -> None:
    prompts = ["the cat", "sad dog " * 20]
    expected = [out.outputs for out in qwen.classify(prompts)]
    for layout in ("unrolled", "stacked"):
        path = convert(qwen_path, tmp_path / layout, layer_layout=layout, hf_overrides={"id2label": {0: "a", 1: "b"}})
        assert not list(path.glob("*.safetensors"))
        llm = LLM(path, layer_layout=layout)
        found = [out.outputs for out in llm.classify(prompts)]
        for a, b in zip(found, expected, strict=True):
            assert a is not None
            assert b is not None
            assert a.logits == pytest.approx(b.logits, abs=1e-6)
            assert a.label in ("a", "b")


def test_converted_weights_of_another_kind_are_refused_by_name(qwen_path: Path, tmp_path: Path) -> None:
    path = convert(qwen_path, tmp_path / "out", dtype="bfloat16")
    with pytest.raises(ConfigError, match="dtype='bfloat16', quantization=None, layer_layout='unrolled'"):
        LLM(path)
    assert LLM(path, dtype="bfloat16").classify("the cat")[0].outputs is not None
    with pytest.raises(ConfigError, match="not an empty directory"):
        convert(qwen_path, path)


def test_a_damaged_conversion_is_refused(qwen_path: Path, tmp_path: Path) -> None:
    path = convert(qwen_path, tmp_path / "out")
    largest = max((path / ENTRY).rglob("*"), key=lambda file: file.stat().st_size if file.is_file() else 0)
    data = bytearray(largest.read_bytes())
    data[len(data) // 2] ^= 1
    largest.write_bytes(data)
    with pytest.raises(CheckpointError, match="damaged"):
        LLM(path)


def hub_cache(root: Path) -> Path:
    """A hub cache that holds one repository, org/tiny."""
    repository = root / "models--org--tiny"
    write_checkpoint(repository / "snapshots" / COMMIT, QWEN3)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    return root


def test_a_hub_model_is_converted_once(
    tmp_path: Path, qwen: LLM, no_network: None, caplog: pytest.LogCaptureFixture
) -> None:
    options = {
        "download_dir": hub_cache(tmp_path / "hub"),
        "local_files_only": True,
        "weights_cache_dir": tmp_path / "weights",
    }
    expected = qwen.classify("the cat")[0].outputs
    rows = [LLM("org/tiny", **options).classify("the cat")[0].outputs for _ in range(2)]
    assert rows[0] == rows[1] == expected
    (entry,) = (tmp_path / "weights").iterdir()
    assert entry.stat().st_mode & 0o077 == 0
    shutil.rmtree(next(path for path in entry.iterdir() if path.is_dir()))
    with caplog.at_level(logging.WARNING, "weights.cache"):
        assert LLM("org/tiny", **options).classify("the cat")[0].outputs == expected
    assert "made again" in caplog.text
    assert LLM("org/tiny", dtype="bfloat16", **options).classify("the cat")[0].outputs != expected
    assert len(list((tmp_path / "weights").iterdir())) == 2
    rows = [LLM("org/tiny", quantization="int8", **options).classify("the cat")[0].outputs for _ in range(2)]
    assert rows[0] == rows[1] != expected
    assert len(list((tmp_path / "weights").iterdir())) == 3


@pytest.mark.parametrize("directory", [False, None])
def test_on_cpu_nothing_is_kept_unless_asked_for(directory: bool | None, tmp_path: Path, home: Path) -> None:
    before = list(home.rglob("weights/*"))
    LLM("org/tiny", download_dir=hub_cache(tmp_path), local_files_only=True, weights_cache_dir=directory)
    assert list(home.rglob("weights/*")) == before


def test_a_cache_that_others_can_write_is_refused(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    with pytest.raises(ConfigError, match="written by other users"):
        LLM("org/tiny", download_dir=hub_cache(tmp_path / "hub"), local_files_only=True, weights_cache_dir=shared)

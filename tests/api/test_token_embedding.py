"""The token embedding in its file: who leaves it there, and what may happen to the file meanwhile."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jaxcls import LLM
from jaxcls.engine.converted import convert
from jaxcls.errors import CheckpointError, ConfigError
from jaxcls.info import describe
from tests.tiny import BERT, QWEN3, tensors, write_checkpoint

PROMPTS = ["the cat", "sad dog " * 20]
TABLE = "model.embed_tokens.weight"


def logits(llm: LLM) -> list[list[float]]:
    return [out.outputs.logits for out in llm.classify(PROMPTS) if out.outputs is not None]


def write_large(path: Path) -> Path:
    """A checkpoint with a table of over 256 MiB, nearly all of which is a hole in the file."""
    vocabulary = 2_900_000
    write_checkpoint(path, QWEN3)
    small = load_file(path / "model.safetensors")
    table = small.pop(TABLE)
    (path / "config.json").write_text(json.dumps(QWEN3 | {"vocab_size": vocabulary}))
    header, data = {}, b""
    for name, tensor in small.items():
        header[name] = {"dtype": "F32", "shape": tensor.shape, "data_offsets": (len(data), len(data) + tensor.nbytes)}
        data += tensor.tobytes()
    size = vocabulary * table.shape[1] * 4
    header[TABLE] = {
        "dtype": "F32",
        "shape": (vocabulary, table.shape[1]),
        "data_offsets": (len(data), len(data) + size),
    }
    described = json.dumps(header).encode()
    with (path / "model.safetensors").open("wb") as file:
        file.write(len(described).to_bytes(8, "little") + described + data + table.tobytes())
        file.truncate(8 + len(described) + len(data) + size)
    return path


def test_a_large_table_stays_in_its_file(tmp_path: Path, qwen: LLM) -> None:
    path = write_large(tmp_path)
    llm = LLM(path)
    np.testing.assert_allclose(logits(llm), logits(qwen), atol=1e-6)
    with pytest.raises(ConfigError, match="token_embedding='memory'"):
        _ = llm.model.runner.state
    large, held = describe(path), describe(path, token_embedding="memory")
    assert (large.token_embedding, held.token_embedding) == ("file", "memory")
    assert held.memory_bytes - large.memory_bytes == 2_900_000 * 24 * 4
    assert describe(path, load_format="dummy").token_embedding == "memory"


def test_a_small_one_is_in_memory(bert_path: Path) -> None:
    assert describe(bert_path).token_embedding == "memory"
    assert describe(bert_path, token_embedding="file").token_embedding == "file"


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def touch(path: Path) -> None:
    os.utime(path, ns=(0, 0))


def truncate(path: Path) -> None:
    os.truncate(path, 100)


@pytest.mark.parametrize("change", [append, touch, truncate])
def test_a_file_that_is_written_to_is_refused(change: Callable[[Path], None], tmp_path: Path) -> None:
    llm = LLM(write_checkpoint(tmp_path, BERT), token_embedding="file")
    assert llm.classify(PROMPTS)[0].outputs is not None
    change(tmp_path / "model.safetensors")
    for _ in range(2):
        with pytest.raises(CheckpointError, match="written to after it was opened"):
            llm.classify(PROMPTS)


def test_a_file_that_is_replaced_or_removed_does_not_matter(tmp_path: Path, bert: LLM) -> None:
    path = write_checkpoint(tmp_path, BERT) / "model.safetensors"
    llm = LLM(tmp_path, token_embedding="file")
    save_file({name: tensor + 1 for name, tensor in load_file(path).items()}, tmp_path / "new")
    (tmp_path / "new").replace(path)
    np.testing.assert_allclose(logits(llm), logits(bert), atol=1e-6)
    path.unlink()
    np.testing.assert_allclose(logits(llm), logits(bert), atol=1e-6)


@pytest.mark.parametrize("options", [{"load_format": "dummy"}, {"programs_dir": "somewhere"}])
def test_who_does_not_read_the_file_cannot_leave_anything_in_it(bert_path: Path, options: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="token_embedding='file' is for a CPU, and weights that are read"):
        LLM(bert_path, token_embedding="file", **options)


def test_converted_weights_have_it_all(bert_path: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not for those that were converted"):
        convert(bert_path, tmp_path / "out", token_embedding="file")
    path = convert(bert_path, tmp_path / "out")
    with pytest.raises(ConfigError, match="not for those that were converted"):
        LLM(path, token_embedding="file")


def test_there_is_no_third_place(bert_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"token_embedding.*'memory' or 'file'.*got 'disk'"):
        LLM(bert_path, token_embedding="disk")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [(np.nan, "float32", "1 of 1536 values"), (3e38, "float16", "finite as float32 but too large for float16")],
)
def test_the_table_is_looked_through(value: float, dtype: str, message: str, tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, BERT) / "model.safetensors"
    whole = tensors(BERT)
    name = "bert.embeddings.word_embeddings.weight"
    whole[name][60, 3] = value
    save_file(whole, path)
    for where in ("memory", "file"):
        with pytest.raises(CheckpointError, match=rf"{name} \(for embed.tokens.weight\), .*{message}"):
            LLM(tmp_path, token_embedding=where, dtype=dtype)  # pyright: ignore[reportArgumentType]

"""Fixtures that several suites share."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from jaxcls import LLM
from tests.tiny import BERT, QWEN3, write_checkpoint


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home of its own, so that no test reads or leaves a cache of the user's."""
    path = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(path))
        yield path


@pytest.fixture(scope="session")
def bert_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT with three labels and a tokenizer."""
    return write_checkpoint(tmp_path_factory.mktemp("bert"), BERT)


@pytest.fixture(scope="session")
def qwen_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Qwen3 with two labels and a tokenizer."""
    return write_checkpoint(tmp_path_factory.mktemp("qwen"), QWEN3)


@pytest.fixture(scope="session")
def bert(bert_path: Path) -> LLM:
    """The tiny BERT, loaded."""
    return LLM(bert_path)


@pytest.fixture(scope="session")
def qwen(qwen_path: Path) -> LLM:
    """The tiny Qwen3, loaded."""
    return LLM(qwen_path)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any attempt to connect fails the test."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError(f"network used: {args[1:]}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)

"""The tokenizers of GPT-2 and Qwen as they were published, through jaxcls: ids, logits, and words as labels."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxcls import LLM
from jaxcls.errors import ConfigError
from jaxcls.info import describe
from jaxcls.inputs import load_tokenizer
from jaxcls.outputs import ClassificationRequestOutput
from tests.parity.cases import Prompt
from tests.parity.store import GOLDENS, read_golden, write_checkpoint
from tests.real.goldens import read_goldens
from tests.real.gpt2_tokenizer import gpt2_tokenizer, gpt2_vocabulary
from tests.real.qwen_tokenizer import qwen_tokenizer

# One process builds the vocabularies.
pytestmark = pytest.mark.xdist_group("byte_level")

TEXTS = [golden.text for golden in read_goldens()]
LABELS = {"positive": " great", "negative": " terrible"}


@dataclasses.dataclass(frozen=True)
class Kind:
    """A tiny model with a real vocabulary.

    Attributes:
        tokenizer: writes the tokenizer.
        ids: of every text.
        labels: the tokens of LABELS.
        golden: the parity case that the model is made like.
        language_model: the class whose head is the output matrix.
        rows: those of the tensors that are longer than the parity case's.
        config: what else is different.
    """

    tokenizer: Callable[[Path], None]
    ids: list[tuple[int, ...]]
    labels: tuple[int, int]
    golden: str
    language_model: str
    rows: dict[str, int]
    config: dict[str, Any]


KINDS = {
    "qwen": Kind(
        qwen_tokenizer,
        [golden.qwen for golden in read_goldens()],
        (2244, 17478),
        "qwen2-base",
        "Qwen2ForCausalLM",
        {"model.embed_tokens.weight": 151_936},
        {
            **{"vocab_size": 151_936, "max_position_embeddings": 1024},
            **{"bos_token_id": 151_643, "eos_token_id": 151_645, "pad_token_id": 151_643},
        },
    ),
    "gpt2": Kind(
        gpt2_tokenizer,
        [golden.gpt2 for golden in read_goldens()],
        (1049, 7818),
        "gpt2-base",
        "GPT2LMHeadModel",
        {"transformer.wte.weight": 50_257, "transformer.wpe.weight": 1024},
        {
            **{"vocab_size": 50_257, "n_positions": 1024, "n_ctx": 1024},
            **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), 50_256),
        },
    ),
}


@pytest.fixture(scope="module", params=list(KINDS.values()), ids=list(KINDS))
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param


@pytest.fixture(scope="module")
def classifier(kind: Kind, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(kind, tmp_path_factory.mktemp("classifier"))


@pytest.fixture(scope="module")
def outputs(classifier: Path) -> list[ClassificationRequestOutput]:
    return LLM(classifier, dtype="float32").classify(TEXTS, use_tqdm=False)


@pytest.fixture(scope="module")
def language_model(kind: Kind, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(kind, tmp_path_factory.mktemp("language_model"), kind.language_model)


def checkpoint(kind: Kind, folder: Path, architecture: str | None = None) -> Path:
    """The parity case's classifier, or a language model that has no head of its own, with the tokenizer."""
    kind.tokenizer(folder)
    golden = read_golden(GOLDENS / f"{kind.golden}.json")
    shapes = golden.shapes | {name: (rows, *golden.shapes[name][1:]) for name, rows in kind.rows.items()}
    config = {**golden.case.config, **kind.config}
    if architecture is not None:
        del shapes["score.weight"]
        config["architectures"] = [architecture]
    write_checkpoint(config, shapes, golden.case.seed, folder)
    return folder


def encode(path: Path, texts: Sequence[str]) -> list[tuple[int, ...]]:
    backend = load_tokenizer.load_tokenizer(path).backend
    return [tuple(encoding.ids) for encoding in backend.encode_batch(texts)]


@pytest.mark.parametrize(
    ("write", "sha256"),
    [
        # openai-community/gpt2, Qwen/Qwen2-0.5B-Instruct, Qwen/Qwen2.5-72B-Instruct-AWQ, Qwen/Qwen3-0.6B
        (gpt2_tokenizer, "8414cab924d8b9b33013f0d221c5862f365ee9be39c5c2bfae8a5a9e970478a6"),
        (
            functools.partial(qwen_tokenizer, series="Qwen2"),
            "f7c9b2dba4a296b1aa76c16a34b8225c0c118978400d4bb66bff0902d702f5b8",
        ),
        (
            functools.partial(qwen_tokenizer, series="Qwen2.5"),
            "22bfef58b74d2fa40f402ac0c8d638d9e54d12137da2e2c7e9f32a1e7534e42f",
        ),
        (qwen_tokenizer, "aeb13307a71acd8fe81861d94ad54ab689df773318809eed3cbe794b4492dae4"),
    ],
    ids=["gpt2", "Qwen2", "Qwen2.5", "Qwen3"],
)
def test_the_file_is_the_published_one(write: Callable[[Path], None], sha256: str, tmp_path: Path) -> None:
    write(tmp_path)
    assert hashlib.sha256((tmp_path / "tokenizer.json").read_bytes()).hexdigest() == sha256
    assert encode(tmp_path, ["Hello world"]) in ([(15496, 995)], [(9707, 1879)])


def test_ids_are_those_of_tiktoken(kind: Kind, classifier: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing asks transformers to build the tokenizer."""
    monkeypatch.setattr(load_tokenizer, "_from_transformers", None)
    assert encode(classifier, TEXTS) == kind.ids


@pytest.mark.parametrize(("series", "ids"), [("Qwen2.5", (13708, 766, 29)), ("Qwen3", (151_667,))])
def test_added_tokens(series: Any, ids: tuple[int, ...], tmp_path: Path) -> None:
    qwen_tokenizer(tmp_path, series)
    texts = ["<think>", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|file_sep|>"]
    assert encode(tmp_path, texts) == [ids, *((i,) for i in (151_643, 151_644, 151_645, 151_664))]


def test_ids_are_those_of_transformers(kind: Kind, classifier: Path) -> None:
    from transformers import AutoTokenizer, GPT2Tokenizer

    if kind is KINDS["gpt2"]:
        merges: Any = gpt2_vocabulary().merges  # pairs, whatever its annotation says
        theirs = GPT2Tokenizer(vocab=gpt2_vocabulary().ids, merges=merges)
    else:
        theirs = AutoTokenizer.from_pretrained(classifier)
    assert list(map(tuple, theirs(TEXTS)["input_ids"])) == kind.ids


def test_prompts_have_these_ids(kind: Kind, outputs: list[ClassificationRequestOutput]) -> None:
    assert [tuple(out.prompt_token_ids) for out in outputs] == kind.ids


def test_logits_are_those_of_transformers(
    kind: Kind, classifier: Path, outputs: list[ClassificationRequestOutput]
) -> None:
    pytest.importorskip("torch", reason="compares with live torch: run `make parity`")
    from tests.parity.oracle import load_model, run_model

    expected = run_model(load_model(classifier, attention="eager"), list(map(Prompt, kind.ids)))
    np.testing.assert_allclose([out.outputs.logits for out in outputs if out.outputs], expected, atol=2e-5)


def test_words_are_rows_of_the_output_matrix(kind: Kind, language_model: Path) -> None:
    assert encode(language_model, list(LABELS.values())) == [(i,) for i in kind.labels]
    head = describe(language_model, labels=LABELS).head
    assert head is not None
    assert head.startswith(f"rows {kind.labels[0]}, {kind.labels[1]} of the output matrix")


def test_scores_of_words_are_those_of_transformers(kind: Kind, language_model: Path) -> None:
    torch = pytest.importorskip("torch", reason="compares with live torch: run `make parity`")
    from transformers import AutoModelForCausalLM

    theirs = AutoModelForCausalLM.from_pretrained(language_model, dtype=torch.float32).eval()
    llm = LLM(language_model, labels=LABELS, prompt_template="{text}\nIt was", dtype="float32")
    for out in llm.classify(TEXTS[:20], use_tqdm=False):
        with torch.no_grad():
            logits = theirs(torch.tensor([out.prompt_token_ids])).logits[0, -1]
        assert out.outputs is not None
        np.testing.assert_allclose(out.outputs.logits, logits[list(kind.labels)].numpy(), atol=2e-5)
        assert out.outputs.label == max(zip(out.outputs.logits, LABELS, strict=True))[1]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("terrible", r"the word 'terrible' is 2 tokens, .* ' terrible' is one token"),
        (" unputdownable", r"the word ' unputdownable' is \d tokens, .* choose a word that is one token"),
    ],
)
def test_words_of_several_tokens_are_refused(language_model: Path, word: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LLM(language_model, labels={"positive": " great", "negative": word})

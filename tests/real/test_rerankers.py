"""Published rerankers with their real vocabulary: token ids of their prompts, truncation, and scores as their authors'.

The models are tiny and random; names, tokenizers and prompts are the real ones.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer

from jaxcls import LLM
from jaxcls.errors import PromptError
from jaxcls.inputs.load_tokenizer import load_tokenizer
from jaxcls.inputs.prompt import TextPrompt
from jaxcls.inputs.score_template import SCORE_TEMPLATES
from jaxcls.inputs.tokenize import TextTokenizer
from jaxcls.inputs.tokenize_options import TextParams, TokenizeOptions
from tests.inputs.rerank_prompts import AUTHORS, UNINSTRUCTED, author_ids, pairs
from tests.real.qwen_tokenizer import qwen_tokenizer

# One process builds the vocabularies.
pytestmark = pytest.mark.xdist_group("byte_level")

GOLDENS = json.loads((Path(__file__).parent / "rerank_goldens.json").read_text(encoding="utf-8"))
NAMES = sorted(GOLDENS["ids"])
QUERY, DOCUMENT = GOLDENS["pair"]
PAIRS = [("What do pandas eat?", "A giant panda eats bamboo. 竹"), ("cat", "the cat sat\n"), ("Is it so?", "")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("qwen3")
    qwen_tokenizer(path)
    return path


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> TextTokenizer:
    return TextTokenizer(load_tokenizer(folder).backend, max_len=32_768, vocab_size=151_936, num_token_types=0)


def prompt_ids(
    tokenizer: TextTokenizer, name: str, query: str, document: str, limit: int | None = None, **variables: str
) -> list[int]:
    texts = TextParams(SCORE_TEMPLATES[name], variables, strategy="second_first")
    [tokens] = tokenizer([TextPrompt(query, document)], [TokenizeOptions(limit, texts=texts)])
    if isinstance(tokens, PromptError):
        raise tokens
    return tokens.token_ids


@pytest.mark.parametrize("name", NAMES)
def test_token_ids_are_the_authors(tokenizer: TextTokenizer, name: str) -> None:
    assert tokenizer.backend is not None
    assert prompt_ids(tokenizer, name, QUERY, DOCUMENT) == GOLDENS["ids"][name]
    for number, (query, document) in enumerate(pairs(100, seed=2)):
        variables = {"instruction": "Find things"} if number % 3 == 0 and name not in UNINSTRUCTED else {}
        expected = author_ids(tokenizer.backend, AUTHORS[name](query, document, variables.get("instruction")))
        assert prompt_ids(tokenizer, name, query, document, **variables) == expected


def test_how_prompts_end() -> None:
    """The score is read at the last token: of Qwen3-Reranker after an empty thought, two line breaks each a token."""
    think, breaks, done = 151_667, 271, 151_668
    assert GOLDENS["ids"]["qwen3-reranker"][-4:] == [think, breaks, done, breaks]
    end, line, start, assistant = 151_645, 198, 151_644, 77_091
    for name in ("mxbai-rerank-v2", "zerank", "qwen3-vl-reranker"):
        assert GOLDENS["ids"][name][-5:] == [end, line, start, assistant, line]


@pytest.mark.parametrize("name", NAMES)
def test_every_limit(tokenizer: TextTokenizer, name: str) -> None:
    """The document goes first, then the query; tokens that hold a character of the prompt stay."""
    assert tokenizer.backend is not None
    whole = prompt_ids(tokenizer, name, QUERY, DOCUMENT)
    end = whole[-4:] if name != "jina-reranker-m0" else []
    shortest = len(prompt_ids(tokenizer, name, "", ""))
    without_document = len(prompt_ids(tokenizer, name, QUERY, ""))
    for limit in range(len(whole) + 2):
        try:
            found = prompt_ids(tokenizer, name, QUERY, DOCUMENT, limit)
        except PromptError:
            assert limit <= shortest + 2
            continue
        assert len(found) == min(limit, len(whole))
        assert found[len(found) - len(end) :] == end
        if limit > without_document + 1:
            assert QUERY in tokenizer.backend.decode(found, skip_special_tokens=False)


def test_truncation_of_the_authors_code(tokenizer: TextTokenizer) -> None:
    """Qwen3-Reranker's cuts its middle piece, which the document ends, to what prefix and suffix leave."""
    backend = tokenizer.backend
    assert backend is not None
    prefix, middle, suffix = (
        author_ids(backend, [piece]) for piece in AUTHORS["qwen3-reranker"](QUERY, DOCUMENT, None)
    )
    for missing in range(1, 10):
        limit = len(prefix) + len(middle) + len(suffix) - missing
        expected = prefix + middle[:-missing] + suffix
        assert prompt_ids(tokenizer, "qwen3-reranker", QUERY, DOCUMENT, limit) == expected


CAUSAL: dict[str, Any] = {
    "vocab_size": 151_936,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "max_position_embeddings": 4096,
}
# Directory, class, template, the words that are read, whether the output matrix is the embedding.
MODELS = [
    ("Qwen3-Reranker-0.6B", "Qwen3ForCausalLM", "qwen3-reranker", ("no", "yes"), True),
    ("Qwen3-Reranker-8B", "Qwen3ForCausalLM", "qwen3-reranker", ("no", "yes"), False),
    ("mxbai-rerank-base-v2", "Qwen2ForCausalLM", "mxbai-rerank-v2", ("0", "1"), True),
    ("zerank-2", "Qwen3ForCausalLM", "zerank", ("Yes",), True),
    ("bge-reranker-v2-gemma", "GemmaForCausalLM", "bge-reranker-v2-gemma", ("Yes",), True),
]


def author_score(logits: Any, words: list[int], name: str) -> float:
    """From the logits after the prompt: a softmax over no and yes, or a sigmoid of one word's (zerank: of a fifth)."""
    chosen = logits[words].astype(np.float64)
    if len(words) == 2:
        return float(np.exp(chosen[1]) / np.exp(chosen).sum())
    return float(1 / (1 + np.exp(-chosen[0] / (5 if name == "zerank" else 1))))


@pytest.mark.parametrize(("directory", "kind", "name", "words", "tied"), MODELS)
def test_scores_are_the_authors(
    folder: Path, tmp_path: Path, directory: str, kind: str, name: str, words: tuple[str, ...], tied: bool
) -> None:
    torch = pytest.importorskip("torch", reason="compares with live torch: run `make parity`")
    import transformers

    path = tmp_path / directory
    backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
    backend.add_special_tokens(["<bos>"])
    config = getattr(transformers, kind.replace("ForCausalLM", "Config"))(**CAUSAL, tie_word_embeddings=tied)
    torch.manual_seed(0)
    model = getattr(transformers, kind)(config).eval()
    with torch.no_grad():  # the initial weights are so small that all scores would be one half
        for parameter in model.parameters():
            parameter.normal_(0, 0.3)
    model.save_pretrained(path)
    backend.save(str(path / "tokenizer.json"))
    outputs = LLM(path).score(*map(list, zip(*PAIRS, strict=True)), use_tqdm=False)
    ids = [backend.token_to_id(word) for word in words]
    for (query, document), out in zip(PAIRS, outputs, strict=True):
        expected = author_ids(backend, AUTHORS[name](query, document, None))
        assert out.prompt_token_ids == expected
        with torch.no_grad():
            logits = model(torch.tensor([expected])).logits[0, -1].numpy()
        assert out.outputs is not None
        assert out.outputs.score == pytest.approx(author_score(logits, ids, name), abs=2e-5)


def test_limits_of_query_and_document(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "Qwen3-Reranker-0.6B"
    path.mkdir()
    config = {**CAUSAL, "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3"}
    (path / "config.json").write_text(json.dumps(config))
    (path / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    llm = LLM(path, load_format="dummy", compilation_cache_dir=False)

    def ids(query: str, document: str, **options: int) -> list[int]:
        [out] = llm.score(query, document, use_tqdm=False, **options)  # type: ignore[arg-type]
        return out.prompt_token_ids

    query, document = "What do pandas", "A giant panda eats"
    assert [len(load_tokenizer(path).backend.encode(text).ids) for text in (query, document)] == [3, 4]
    assert ids(QUERY, DOCUMENT, max_tokens_per_query=3) == ids(query, DOCUMENT)
    assert ids(QUERY, DOCUMENT, max_tokens_per_doc=4) == ids(QUERY, document)
    assert ids(QUERY, DOCUMENT, max_tokens_per_query=3, max_tokens_per_doc=4) == ids(query, document)

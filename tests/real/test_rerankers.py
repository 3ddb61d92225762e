"""Published rerankers with their real vocabulary: token ids of their prompts, truncation, and scores as their authors'.

The models are tiny and random; names, tokenizers and prompts are the real ones.
"""

import json
import re
import unicodedata
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
from tests.inputs.tokenizer_files import gemma
from tests.real.byte_level import letters
from tests.real.goldens import RerankGolden, read_rerank_goldens
from tests.real.qwen_tokenizer import qwen_tokenizer

# One process builds the vocabularies.
pytestmark = pytest.mark.xdist_group("byte_level")

GOLDENS = read_rerank_goldens()
NAMES = list(dict.fromkeys(golden.template for golden in GOLDENS))
PAIRS = list(dict.fromkeys((golden.query, golden.document) for golden in GOLDENS))
QUERY, DOCUMENT = PAIRS[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("qwen3")
    qwen_tokenizer(path)
    return path


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> TextTokenizer:
    return TextTokenizer(load_tokenizer(folder).backend, max_len=32_768, vocab_size=151_936, num_token_types=0)


def prompt_ids(
    tokenizer: TextTokenizer,
    name: str,
    query: str,
    document: str,
    limit: int | None = None,
    instruction: str | None = None,
) -> list[int]:
    found = prompt_or_error(tokenizer, name, query, document, limit, instruction)
    assert not isinstance(found, PromptError)
    return found


def prompt_or_error(
    tokenizer: TextTokenizer, name: str, query: str, document: str, limit: int | None, instruction: str | None = None
) -> list[int] | PromptError:
    variables = {} if instruction is None else {"instruction": instruction}
    texts = TextParams(SCORE_TEMPLATES[name], variables, strategy="second_first")
    [tokens] = tokenizer([TextPrompt(query, document)], [TokenizeOptions(limit, texts=texts)])
    return tokens if isinstance(tokens, PromptError) else tokens.token_ids


@pytest.mark.parametrize("golden", GOLDENS, ids=lambda golden: golden.template)
def test_token_ids_are_tiktokens(tokenizer: TextTokenizer, golden: RerankGolden) -> None:
    assert tuple(prompt_ids(tokenizer, golden.template, golden.query, golden.document)) == golden.ids


@pytest.mark.parametrize("name", NAMES)
def test_token_ids_are_the_authors(tokenizer: TextTokenizer, name: str) -> None:
    assert tokenizer.backend is not None
    for number, (query, document) in enumerate(pairs(100, seed=2)):
        instruction = "Find things" if number % 3 == 0 and name not in UNINSTRUCTED else None
        expected = author_ids(tokenizer.backend, AUTHORS[name](query, document, instruction))
        assert prompt_ids(tokenizer, name, query, document, instruction=instruction) == expected


def test_how_prompts_end() -> None:
    """The score is read at the last token: of Qwen3-Reranker after an empty thought, two line breaks each a token."""
    think, breaks, done = 151_667, 271, 151_668
    end, line, start, assistant = 151_645, 198, 151_644, 77_091
    answer = (end, line, start, assistant, line)
    for golden in GOLDENS:
        if golden.template == "qwen3-reranker":
            assert golden.ids[-9:] == (*answer, think, breaks, done, breaks)
        elif golden.template != "jina-reranker-m0":  # the query ends it
            assert golden.ids[-5:] == answer


@pytest.mark.parametrize("golden", GOLDENS, ids=lambda golden: golden.template)
def test_every_limit(tokenizer: TextTokenizer, golden: RerankGolden) -> None:
    """The document goes first, then the query; tokens that hold a character of the prompt stay."""
    name, whole = golden.template, golden.ids
    found: list[tuple[str, str]] = []
    for limit in range(len(whole) + 2):
        ids = prompt_or_error(tokenizer, name, golden.query, golden.document, limit)
        if isinstance(ids, PromptError):
            assert "leave no room" in ids.message
            assert not found  # what a limit leaves room for, a greater one does as well
            continue
        assert len(ids) == min(limit, len(whole))
        found.append(texts_within(name, spelled(tokenizer, ids)))
    strip = SCORE_TEMPLATES[name].strip
    query, document = (spell(text.strip() if strip else text) for text in (golden.query, golden.document))
    assert found[-1] == (query, document)
    shortest = found[0][1]
    for some_query, some_document in found:
        assert lacks_one_stretch(some_query, query)
        assert lacks_one_stretch(some_document, document)
        assert query == some_query or some_document == shortest
    # A token at most on each side of a text is a character of the prompt's as well.
    assert len(whole) + 2 - len(found) <= len(prompt_ids(tokenizer, name, "", "")) + 4


def spell(text: str) -> str:
    """A text in the letters that tokens are written in."""
    return unicodedata.normalize("NFC", text).encode().decode("latin-1").translate(letters())


def spelled(tokenizer: TextTokenizer, ids: list[int]) -> str:
    assert tokenizer.backend is not None
    return "".join(str(tokenizer.backend.id_to_token(i)) for i in ids)


def texts_within(name: str, prompt: str) -> tuple[str, str]:
    """The query and the document; all around them is the author's."""
    frame = "".join(AUTHORS[name]("<query>", "<document>", None))
    pattern = re.escape(spell(frame)).replace("<query>", "(?P<query>.*)").replace("<document>", "(?P<document>.*)")
    match = re.fullmatch(pattern, prompt)
    assert match is not None
    return match["query"], match["document"]


def lacks_one_stretch(part: str, text: str) -> bool:
    ends = range(len(part) + 1)
    return len(part) <= len(text) and any(text.startswith(part[:end]) and text.endswith(part[end:]) for end in ends)


def test_truncation_of_the_authors_code(tokenizer: TextTokenizer, folder: Path) -> None:
    """Qwen3-Reranker's model card cuts the middle piece, which the document ends, to what prefix and suffix leave."""
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(folder, padding_side="left")
    for query, document in PAIRS:
        before, middle, after = AUTHORS["qwen3-reranker"](query, document, None)
        prefix, suffix = (theirs.encode(piece, add_special_tokens=False) for piece in (before, after))
        whole = prompt_ids(tokenizer, "qwen3-reranker", query, document)
        # With less, that code cuts the prompt itself.
        for limit in range(len(prompt_ids(tokenizer, "qwen3-reranker", query, "")) + 2, len(whole) + 2):
            room = limit - len(prefix) - len(suffix)
            cut = theirs([middle], padding=False, truncation="longest_first", max_length=room)["input_ids"][0]
            expected = prefix + cut + suffix
            assert prompt_ids(tokenizer, "qwen3-reranker", query, document, limit) == expected


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
    if kind == "GemmaForCausalLM":  # the other pairs have characters that it has to spell in bytes
        backend = gemma(["Yes", "Yes", *AUTHORS[name](QUERY, "It is so.", None)])
    else:
        backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
    config = getattr(transformers, kind.replace("ForCausalLM", "Config"))(**CAUSAL, tie_word_embeddings=tied)
    torch.manual_seed(0)
    model = getattr(transformers, kind)(config).eval()
    with torch.no_grad():  # the initial weights are so small that all scores would be one half
        for parameter in model.parameters():
            parameter.normal_(0, 0.3)
    model.save_pretrained(path)
    backend.save(str(path / "tokenizer.json"))
    outputs = LLM(path).score(*map(list, zip(*PAIRS, strict=True)), use_tqdm=False)
    vocabulary = backend.get_vocab()
    ids = [vocabulary[word] for word in words]
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

"""The prompts of rerankers: equal to those of their authors' code, and never cut where it matters."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rerank_prompts import AUTHORS, SPECIAL, UNINSTRUCTED, author_ids, pairs
from tokenizer_files import byte_level, with_eos, wordpiece
from tokenizers import Tokenizer

from jaxcls.errors import ConfigError, PromptError
from jaxcls.inputs.prompt import TextPrompt
from jaxcls.inputs.score_template import SCORE_TEMPLATES, read_score_template
from jaxcls.inputs.template import Template
from jaxcls.inputs.tokenize import TextTokenizer
from jaxcls.inputs.tokenize_options import Side, TextParams, TokenizeOptions

BACKEND = byte_level(*SPECIAL)
TOKENIZER = TextTokenizer(BACKEND, max_len=10_000, vocab_size=10_000, num_token_types=0)
QUERY, DOCUMENT = "which cat sat?", "the dog ran after the cat, é 🙂 and sat.\nA very good ending "
JINJA = "{{ (messages | selectattr('role', 'eq', 'query') | first).content }}|{{ messages[1].content }}!\n"


def ids(query: str, document: str, tokenizer: TextTokenizer = TOKENIZER, **options: Any) -> list[int]:
    [tokens] = tokenizer([TextPrompt(query, document)], [tokenize_options(**options)])
    if isinstance(tokens, PromptError):
        raise tokens
    return tokens.token_ids


def tokenize_options(max_tokens: int | None = None, side: Side | None = None, **texts: Any) -> TokenizeOptions:
    return TokenizeOptions(max_tokens, side, texts=TextParams(**texts))


def jinja(source: str, path: Path, backend: Tokenizer = BACKEND) -> Template:
    return read_score_template(source, backend, path)


def test_every_template_has_an_author() -> None:
    assert AUTHORS.keys() == SCORE_TEMPLATES.keys()


@pytest.mark.parametrize("name", AUTHORS)
def test_prompts_are_the_authors(name: str) -> None:
    template, author = SCORE_TEMPLATES[name], AUTHORS[name]
    for number, (query, document) in enumerate(pairs(100)):
        instruction = "Find {odd} things" if number % 3 == 0 and name not in UNINSTRUCTED else None
        variables = {} if instruction is None else {"instruction": instruction}
        expected = author(query, document, instruction)
        pieces = template.render({"text": query, "text_pair": document}, variables)
        assert [piece.text for piece in pieces] == expected
        assert ids(query, document, template=template, variables=variables) == author_ids(BACKEND, expected)


@pytest.mark.parametrize(
    ("name", "cut"),
    [("qwen3-reranker", 1), ("mxbai-rerank-v2", 3), ("bge-reranker-v2-gemma", 3), ("nemotron-rerank", 0)],
)
def test_a_long_document_is_cut_as_by_the_author(name: str, cut: int) -> None:
    """In these the document ends a piece, whose tokens the author's code cuts at the end."""
    for query, document in pairs(100, seed=1):
        pieces = AUTHORS[name](query, document, None)
        before, piece, after = (author_ids(BACKEND, part) for part in (pieces[:cut], [pieces[cut]], pieces[cut + 1 :]))
        bare = author_ids(BACKEND, [*pieces[:cut], pieces[cut].removesuffix(document)])
        total = len(before) + len(piece) + len(after)
        for limit in {total - 1, total - 5, (total + len(bare) + len(after) + 1) // 2}:
            if len(bare) + len(after) + 2 <= limit < total:
                expected = before + piece[: limit - len(before) - len(after)] + after
                assert ids(query, document, template=SCORE_TEMPLATES[name], max_tokens=limit) == expected


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", [*AUTHORS, "jinja", "pair"])
def test_every_length(name: str, side: Side, tmp_path: Path) -> None:
    """The document is cut first, then the query; tokens of the template and special tokens stay."""
    backend = with_eos() if name in ("jinja", "pair") else BACKEND
    tokenizer = TextTokenizer(backend, max_len=10_000, vocab_size=10_000, num_token_types=0)
    template = jinja(JINJA, tmp_path, backend) if name == "jinja" else SCORE_TEMPLATES.get(name)
    options: dict[str, Any] = {"template": template, "side": side, "strategy": "second_first"}
    whole, frame = ids(QUERY, DOCUMENT, tokenizer, **options), ids("", "", tokenizer, **options)
    without_document = ids(QUERY, "", tokenizer, **options)
    fewest = next(limit for limit in range(len(whole) + 1) if _fits(limit, tokenizer, options))
    for limit in range(len(whole) + 2):
        if limit < fewest:
            with pytest.raises(PromptError, match="leave no room"):
                ids(QUERY, DOCUMENT, tokenizer, max_tokens=limit, **options)
            continue
        found = ids(QUERY, DOCUMENT, tokenizer, max_tokens=limit, **options)
        assert len(found) == min(limit, len(whole))
        # What remains is the prompt without one stretch of the document or, when that is gone, of the query.
        assert _is_subsequence(found, whole)
        query_is_whole = limit >= len(without_document) + 2
        assert not query_is_whole or QUERY in backend.decode(found, skip_special_tokens=False)
    # Tokens that also hold a character of the template are not cut: at most one on each side of a text.
    assert len(frame) <= fewest <= len(frame) + 4


def _fits(limit: int, tokenizer: TextTokenizer, options: dict[str, Any]) -> bool:
    [tokens] = tokenizer([TextPrompt(QUERY, DOCUMENT)], [tokenize_options(max_tokens=limit, **options)])
    return not isinstance(tokens, PromptError)


def _is_subsequence(part: list[int], whole: list[int]) -> bool:
    remaining = iter(whole)
    return all(item in remaining for item in part)


_TEXT = st.text(max_size=60)


@settings(max_examples=150, deadline=None)
@given(
    query=_TEXT, document=_TEXT, limit=st.integers(1, 200), name=st.sampled_from(sorted(AUTHORS)), right=st.booleans()
)
def test_no_text_makes_a_template_lose_a_token(query: str, document: str, limit: int, name: str, right: bool) -> None:
    template = SCORE_TEMPLATES[name]
    whole = ids(query, document, template=template)
    side: Side = "right" if right else "left"
    try:
        found = ids(query, document, template=template, max_tokens=limit, side=side)
    except PromptError:
        assert limit <= len(ids("", "", template=template)) + 4
        return
    assert len(found) == min(limit, len(whole))
    start, end = (author_ids(BACKEND, [piece]) for piece in _ends(name))
    assert found[: len(start)] == start
    assert found[len(found) - len(end) :] == end


def _ends(name: str) -> tuple[str, str]:
    """What every prompt of a template begins and ends with, up to a border of tokens."""
    prompt = "".join(AUTHORS[name]("\0", "\0", None))
    start, _, rest = prompt.partition("\0")
    end = rest.rpartition("\0")[2]
    special = "<|im_end|>"
    start = start[: start.rfind("\n") + 1] if "\n" in start else ("<bos>" if start.startswith("<bos>") else "")
    return start, end[end.find(special) :] if special in end else end[end.find("\n") + 1 :] if "\n" in end else ""


def test_most_tokens_of_each_text(tmp_path: Path) -> None:
    """A text is cut by itself, before it is put into anything."""
    for template in (None, SCORE_TEMPLATES["qwen3-reranker"], jinja(JINJA, tmp_path)):
        for most in range(1, 12):
            found = ids(QUERY, DOCUMENT, template=template, most_tokens={"text_pair": most})
            kept = next(
                DOCUMENT[:end]
                for end in range(len(DOCUMENT), 0, -1)
                if len(BACKEND.encode(DOCUMENT[:end]).ids) <= most and DOCUMENT[:end] in BACKEND.decode(found)
            )
            assert found == ids(QUERY, kept, template=template)
    left = ids(QUERY, "the cat sat", template=SCORE_TEMPLATES["nemotron-rerank"], most_tokens={"text": 1}, side="left")
    assert BACKEND.decode(left) == "question:? \n \n passage:the cat sat"


def test_jinja_is_rendered_as_transformers_does(tmp_path: Path) -> None:
    """Blocks take their line with them, and the last newline of a file is not part of it."""
    source = "{% for m in messages %}\n  {% if m.role == 'query' %}\nQ {{ m.content }}\n{% else %}\nD {{ m.content }}\n"
    source += "  {% endif %}\n{% endfor %}\nend\n"
    [piece] = jinja(source, tmp_path).render({"text": "a", "text_pair": "b"}, {})
    assert piece.text == "Q a\nD b\nend"
    file = tmp_path / "template.jinja"
    file.write_text(source)
    [same] = read_score_template(file, BACKEND, tmp_path).render({"text": "a", "text_pair": "b"}, {})
    assert same.text == piece.text


def test_a_template_that_strips_its_texts_can_be_cut(tmp_path: Path) -> None:
    template = jinja("{{ messages[0].content | trim }}: {{ messages[1].content | trim }}!", tmp_path)
    found = ids("  a cat ", "\n the dog ran \n", template=template, max_tokens=8)
    text = BACKEND.decode(found)
    assert text.startswith("a cat: ")
    assert text.endswith("!")
    changing = jinja("{{ messages[0].content * 2 }}: {{ messages[1].content }}!", tmp_path)
    with pytest.raises(PromptError, match="where to cut it cannot be told"):
        ids("a cat", "the dog ran", template=changing, max_tokens=8)


def test_special_tokens_around_jinja(tmp_path: Path) -> None:
    """The tokenizer's are added, unless the template writes them itself: never <bos> twice."""
    backend = wordpiece()
    tokenizer = TextTokenizer(backend, max_len=100, vocab_size=10_000, num_token_types=2)
    (tmp_path / "tokenizer_config.json").write_text('{"bos_token": "[CLS]"}')
    plain = ids(
        "cat",
        "dog",
        tokenizer,
        template=jinja("{{ messages[0].content }} {{ messages[1].content }}", tmp_path, backend),
    )
    source = "{{ bos_token }}{{ messages[0].content }} {{ messages[1].content }}"
    own = ids("cat", "dog", tokenizer, template=jinja(source, tmp_path, backend))
    names = [[backend.id_to_token(i) for i in found] for found in (plain, own)]
    assert names == [["[CLS]", "cat", "dog", "[SEP]"], ["[CLS]", "cat", "dog"]]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("qwen3", "no built-in template: bge-reranker-v2-gemma"),
        ("nowhere.jinja", "no Jinja template, no file"),
        ("{{ messages[0].content", "cannot be read"),
        ("<|endofprompt|>{{ messages[0].content }}", r"special token <\|endofprompt\|>, which this tokenizer does not"),
    ],
)
def test_templates_that_are_refused(value: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        read_score_template(value, BACKEND, tmp_path)


def test_a_tokenizer_without_the_templates_tokens(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the template belongs to another model"):
        read_score_template("qwen3-reranker", byte_level("<|im_start|>", "<|im_end|>"), tmp_path)


def test_variables(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no place for an instruction"):
        SCORE_TEMPLATES["nemotron-rerank"].check({"instruction": "find"})
    with pytest.raises(ConfigError, match="no place for tone"):
        SCORE_TEMPLATES["qwen3-reranker"].check({"tone": "kind"})
    with pytest.raises(ConfigError, match="does not read tone"):
        jinja(JINJA, tmp_path).check({"tone": "kind"})
    texts: Any = {"text": "q", "text_pair": "d"}
    [piece] = jinja("{{ instruction }} " + JINJA, tmp_path).render(texts, {"instruction": "find"})
    assert piece.text == "find q|d!"

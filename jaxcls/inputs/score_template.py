"""What rerankers are given of a query and a document: the prompts of published models, and templates of users.

A published model's prompt is the one of its author's code, its pieces tokenised one by one where that code does so.
"""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from jaxcls.errors import ConfigError, PromptError
from jaxcls.inputs.chat import ChatTemplate, special_tokens
from jaxcls.inputs.template import Piece, Places, Template, Texts, TextTemplate, text_template

_YES_NO = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
)
_ANSWER = "<|im_end|>\n<|im_start|>assistant\n"


def _qwen3(instruction: str) -> tuple[str, ...]:
    middle = f"<Instruct>: {instruction}\n<Query>: {{text}}\n<Document>: {{text_pair}}"
    return _YES_NO, middle, f"{_ANSWER}<think>\n\n</think>\n\n"


def _qwen3_vl(instruction: str) -> str:
    return f"{_YES_NO}<Instruct>: {instruction}<Query>:{{text}}\n<Document>:{{text_pair}}{_ANSWER}"


def _mxbai(query: str) -> tuple[str, ...]:
    return (
        "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\n",
        query,
        "\n",
        "document: {text_pair}",
        "\n",
        "You are a search relevance expert who evaluates how well documents match search queries. For each "
        "query-document pair, carefully analyze the semantic relationship between them, then provide your binary "
        "relevance judgment (0 for not relevant, 1 for relevant).\nRelevance:",
        _ANSWER,
    )


def _bge_gemma(prompt: str) -> tuple[str, ...]:
    return "<bos>", "A: {text}", "\n", "B: {text_pair}", "\n", prompt


def _zerank(query: str) -> str:
    return f"<|im_start|>system\n{query}<|im_end|>\n<|im_start|>user\n{{text_pair}}{_ANSWER}"


# By name; each with where its author's code is.
SCORE_TEMPLATES: dict[str, TextTemplate] = {
    # The model cards of BAAI/bge-reranker-v2-gemma, and FlagEmbedding: there a caller's prompt replaces the last piece.
    "bge-reranker-v2-gemma": text_template(
        *_bge_gemma(
            "Given a query A and a passage B, determine whether the passage contains an answer to the query by "
            "providing a prediction of either 'Yes' or 'No'."
        ),
        instructed=_bge_gemma("{instruction}"),
        special=False,
    ),
    # formatting_prompts_func in modeling.py of jinaai/jina-reranker-m0.
    "jina-reranker-m0": text_template("**Document**:\n{text_pair}\n**Query**:\n{text}"),
    # MxbaiRerankV2 of github.com/mixedbread-ai/mxbai-rerank.
    "mxbai-rerank-v2": text_template(
        *_mxbai("query: {text}"), instructed=_mxbai("instruction: {instruction}\nquery: {text}"), special=False
    ),
    # prompt_template in the model card of nvidia/llama-nemotron-rerank-1b-v2; <|begin_of_text|> is the tokenizer's.
    "nemotron-rerank": text_template("question:{text} \n \n passage:{text_pair}"),
    # The model cards of Qwen/Qwen3-Reranker-0.6B, 4B and 8B.
    "qwen3-reranker": text_template(
        *_qwen3("Given a web search query, retrieve relevant passages that answer the query"),
        instructed=_qwen3("{instruction}"),
        special=False,
    ),
    # qwen3_vl_reranker.py of Qwen/Qwen3-VL-Reranker-2B, for texts.
    "qwen3-vl-reranker": text_template(
        _qwen3_vl("Given a search query, retrieve relevant candidates that answer the query."),
        instructed=(_qwen3_vl("{instruction}"),),
        special=False,
    ),
    # modeling_zeranker.py of zeroentropy/zerank-1-small; the instruction as the model card of zerank-2 has it.
    "zerank": text_template(
        _zerank("{text}"),
        instructed=(_zerank("<query>{text}</query>\n<instruction>{instruction}</instruction>"),),
        special=False,
        strip=True,
    ),
}


# Texts that a template shows only where it shows what it is given.
_PROBES = ("what query is this", "what document is this")


@dataclasses.dataclass(frozen=True)
class JinjaTemplate:
    """A user's Jinja template, which finds the texts in messages with the roles "query" and "document".

    Rendered as transformers and vLLM render it: the last newline of a file is not part of it.
    """

    chat: ChatTemplate

    def render(self, texts: Texts, variables: Mapping[str, Any]) -> list[Piece]:
        """See Template."""
        if "text_pair" not in texts:
            raise PromptError("the chat_template takes a query and a document: a pair")
        prompt = self._render(texts, variables)
        # A template that writes <bos> itself writes all special tokens.
        special = not prompt.startswith(self.chat.special.get("bos_token") or "\0")
        return [Piece(prompt, special, lambda: self._places(prompt, texts, variables))]

    def check(self, variables: Mapping[str, Any]) -> None:
        """See Template."""
        if unread := sorted(variables.keys() - self.chat.variables):
            raise ConfigError(f"the chat template does not read {', '.join(unread)}")
        try:
            prompt = self._render({"text": _PROBES[0], "text_pair": _PROBES[1]}, variables).lower()
        except PromptError as error:
            raise ConfigError(f"as a prompt for pairs, {error.message}") from None
        for probe, role in zip(_PROBES, ("query", "document"), strict=True):
            if probe not in prompt:
                raise ConfigError(
                    f"the chat_template leaves the {role} out, so that it would not matter: it finds it in the message "
                    f"whose role is {role!r}"
                )

    def _render(self, texts: Texts, variables: Mapping[str, Any]) -> str:
        messages = [{"role": "query", "content": texts["text"]}, {"role": "document", "content": texts["text_pair"]}]
        return self.chat.render(messages, variables)

    def _places(self, prompt: str, texts: Texts, variables: Mapping[str, Any]) -> Places:
        """Where the texts are in the prompt: it is rendered again, with a mark before and after each."""
        used = {*prompt, *texts["text"], *texts["text_pair"]}
        marks = [mark for mark in map(chr, range(0xE000, 0xE000 + len(used) + 4)) if mark not in used][:4]
        stripped: Texts = {field: text.strip() for field, text in texts.items()}
        for form in (texts, stripped):
            query, document = marks[0] + form["text"] + marks[1], marks[2] + form["text_pair"] + marks[3]
            rendered = self._render({"text": query, "text_pair": document}, variables)
            if all(rendered.count(mark) == 1 for mark in marks) and _without(rendered, marks) == prompt:
                at = [len(_without(rendered[: rendered.index(mark)], marks)) for mark in marks]
                return {"text": (at[0], at[1]), "text_pair": (at[2], at[3])}
        raise PromptError(
            "the prompt is too long, and where to cut it cannot be told, because the chat_template changes its texts: "
            "shorten them, or pass max_tokens_per_doc"
        )


def read_score_template(value: str | Path, backend: Tokenizer, tokenizer_path: Path) -> Template:
    """A template for pairs: the name of a built-in one, Jinja, or a file with Jinja.

    Args:
        value: which.
        backend: the tokenizer, which must know the special tokens that are in the template.
        tokenizer_path: its files.

    Raises:
        ConfigError: none of the three, or special tokens that the tokenizer does not have.
    """
    template: Template
    if str(value) in SCORE_TEMPLATES:
        template = SCORE_TEMPLATES[str(value)]
        literals = "".join(literal for parts in template.pieces for literal, _ in parts)
        special = re.findall(r"<\|\w+\|>|</?think>|<bos>", literals)
    else:
        source = _jinja_source(value)
        template = JinjaTemplate(ChatTemplate(source, special_tokens(tokenizer_path)))
        _ = template.chat.variables  # refuses what is no Jinja
        special = re.findall(r"<\|\w+\|>", source)
    missing = [token for token in special if backend.token_to_id(token) is None]
    if missing:
        raise ConfigError(
            f"the template has the special token {missing[0]}, which this tokenizer does not know and would read as "
            "ordinary text: the template belongs to another model"
        )
    return template


def _jinja_source(value: str | Path) -> str:
    text = str(value)
    if "{{" in text or "{%" in text:
        return text
    if Path(text).is_file():
        return Path(text).read_text(encoding="utf-8")
    raise ConfigError(
        f"chat_template {text!r} is no Jinja template, no file, and no built-in template: {', '.join(SCORE_TEMPLATES)}"
    )


def _without(text: str, marks: list[str]) -> str:
    return text.translate({ord(mark): None for mark in marks})

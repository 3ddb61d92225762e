"""The prompts of published rerankers as their authors' code makes them: written out anew, for comparison.

Sources: the model cards of Qwen/Qwen3-Reranker-0.6B, BAAI/bge-reranker-v2-gemma and
nvidia/llama-nemotron-rerank-1b-v2; mxbai_rerank_v2.py of github.com/mixedbread-ai/mxbai-rerank;
qwen3_vl_reranker.py of Qwen/Qwen3-VL-Reranker-2B; modeling_zeranker.py of zeroentropy/zerank-1-small and the model card
of zerank-2; modeling.py of jinaai/jina-reranker-m0.
"""

import random
from collections.abc import Callable

from tokenizers import Tokenizer

Pieces = list[str]
SPECIAL = ("<pad>", "<bos>", "<|im_start|>", "<|im_end|>", "<think>", "</think>")

_JUDGE = (
    "<|im_start|>system\n"
    "Judge whether the Document meets the requirements based on the Query and the Instruct provided. "
    'Note that the answer can only be "yes" or "no".<|im_end|>\n'
    "<|im_start|>user\n"
)
_SEARCH = "Given a web search query, retrieve relevant passages that answer the query"
_CANDIDATES = "Given a search query, retrieve relevant candidates that answer the query."
_YES_NO = (
    "Given a query A and a passage B, determine whether the passage contains an answer to the query by providing a "
    "prediction of either 'Yes' or 'No'."
)
_EXPERT = (
    "You are a search relevance expert who evaluates how well documents match search queries. "
    "For each query-document pair, carefully analyze the semantic relationship between them, "
    "then provide your binary relevance judgment (0 for not relevant, 1 for relevant).\nRelevance:"
)


def qwen3(query: str, document: str, instruction: str | None) -> Pieces:
    middle = f"<Instruct>: {instruction or _SEARCH}\n<Query>: {query}\n<Document>: {document}"
    return [_JUDGE, middle, "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"]


def qwen3_vl(query: str, document: str, instruction: str | None) -> Pieces:
    user = f"<Instruct>: {instruction or _CANDIDATES}" + "<Query>:" + query + "\n<Document>:" + document
    return [_JUDGE + user + "<|im_end|>\n" + "<|im_start|>assistant\n"]


def mxbai(query: str, document: str, instruction: str | None) -> Pieces:
    first = f"query: {query}"
    if instruction:
        first = f"instruction: {instruction}" + "\n" + first
    prefix = (
        "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\n"
    )
    return [prefix, first, "\n", f"document: {document}", "\n", _EXPERT, "<|im_end|>\n<|im_start|>assistant\n"]


def bge_gemma(query: str, document: str, instruction: str | None) -> Pieces:
    return ["<bos>", f"A: {query}", "\n", f"B: {document}", "\n", instruction or _YES_NO]


def nemotron(query: str, document: str, instruction: str | None) -> Pieces:
    assert instruction is None
    return [f"question:{query} \n \n passage:{document}"]


def jina_m0(query: str, document: str, instruction: str | None) -> Pieces:
    assert instruction is None
    return [f"**Document**:\n{document}" + "\n" + f"**Query**:\n{query}"]


def zerank(query: str, document: str, instruction: str | None) -> Pieces:
    query, document = f"\n{query}\n".strip(), f"\n{document}\n".strip()
    if instruction:
        query = f"<query>{query}</query>\n<instruction>{instruction}</instruction>"
    system = "<|im_start|>system\n" + query + "<|im_end|>\n"
    return [system + "<|im_start|>user\n" + document + "<|im_end|>\n" + "<|im_start|>assistant\n"]


Author = Callable[[str, str, str | None], Pieces]
AUTHORS: dict[str, Author] = {
    "bge-reranker-v2-gemma": bge_gemma,
    "jina-reranker-m0": jina_m0,
    "mxbai-rerank-v2": mxbai,
    "nemotron-rerank": nemotron,
    "qwen3-reranker": qwen3,
    "qwen3-vl-reranker": qwen3_vl,
    "zerank": zerank,
}
UNINSTRUCTED = ("jina-reranker-m0", "nemotron-rerank")

_FRAGMENTS = (
    "what is the capital of France?", " Paris", "\n", "\n\n", "  ", "\t", "北京是中国的首都", "🙂👩‍👩‍👧",
    "def f(x): return {x}", "{text} {text_pair}", "<Document>: ", "ß é", "1234567", "It's", "", "passage:", "\r\n",
    "Ünïcode", "{{ messages }}", "اللغة", "B: ", "\x00", "a" * 40,
)  # fmt: skip


def pairs(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Queries and documents of odd fragments, the same for the same seed."""
    rng = random.Random(seed)
    text = lambda most: "".join(rng.choices(_FRAGMENTS, k=rng.randint(0, most)))  # noqa: E731
    return [(text(4), text(12)) for _ in range(count)]


def author_ids(tokenizer: Tokenizer, pieces: Pieces, *, special: bool = False) -> list[int]:
    """The pieces tokenised one by one."""
    return [i for piece in pieces for i in tokenizer.encode(piece, add_special_tokens=special).ids]

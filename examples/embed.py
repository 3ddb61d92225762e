"""Embeddings and late interaction: which text is nearest?

python examples/embed.py [MODEL]

Without MODEL, a tiny model with random weights shows the calls; its answers mean nothing.
"""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers

from jaxcls import LLM
from jaxcls.embed import cosine, maxsim

QUERY, TEXTS = "a museum in Hamburg", ["The new museum opened .", "Hamburg won the match .", "a cat"]


def nearest(model: str, **options: Any) -> None:
    """The texts by their likeness to the query: of whole texts, then of their tokens."""
    llm = LLM(model, **options)
    (query,) = llm.embed(QUERY, prompt_name="query", use_tqdm=False)
    for text, out in zip(TEXTS, llm.embed(TEXTS, prompt_name="document", use_tqdm=False), strict=True):
        assert query.outputs is not None
        assert out.outputs is not None
        print(f"{cosine(query.outputs.embedding, out.outputs.embedding):.3f}", text)
    (query,) = llm.token_embed(QUERY, use_tqdm=False)
    for text, out in zip(TEXTS, llm.token_embed(TEXTS, use_tqdm=False), strict=True):
        assert query.outputs is not None
        assert out.outputs is not None
        print(f"{maxsim(query.outputs.embeddings, out.outputs.embeddings):.3f}", text)


def write_tiny(folder: Path) -> str:
    """config.json and a tokenizer of words, for random weights."""
    words = sorted({word for text in (QUERY, *TEXTS) for word in text.split()})
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(["[UNK]", *words])}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = {"architectures": ["BertModel"], "model_type": "bert", "vocab_size": len(words) + 1, **sizes}
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


if len(sys.argv) > 1:
    nearest(sys.argv[1])
else:
    with TemporaryDirectory() as name:
        nearest(write_tiny(Path(name)), convert="embed", load_format="dummy")

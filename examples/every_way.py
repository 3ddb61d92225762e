"""The other ways to classify: words, NLI, rewards and tokens.

python examples/every_way.py words|zero_shot|reward|tokens [MODEL]

Without MODEL, a tiny model with random weights shows the calls; its answers mean nothing.
"""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers

from jaxcls import LLM

TEXT = "Angela Merkel opened the new museum in Hamburg ."


def words(model: str, **options: Any) -> None:
    """A language model answers with one of two words."""
    labels = {"culture": " museum", "sports": " match"} if not options else {"culture": "museum", "sports": "match"}
    llm = LLM(model, labels=labels, prompt_template="News: {text} It is about a", **options)
    print(llm.classify(TEXT)[0].outputs)


def zero_shot(model: str, **options: Any) -> None:
    """An NLI model compares labels of your choice."""
    print(LLM(model, **options).zero_shot(TEXT, ["museum", "match"])[0].outputs)


def reward(model: str, **options: Any) -> None:
    """A reward model ranks answers."""
    answers = ["museum", "new match"]
    for answer, out in zip(answers, LLM(model, **options).reward(TEXT, answers), strict=True):
        print(answer, out.outputs)


def tokens(model: str, **options: Any) -> None:
    """A token classifier finds names."""
    for span in LLM(model, **options).token_classify(TEXT, aggregation="simple")[0].outputs.spans:
        print(f"{TEXT[span.start : span.end]!r} {span.label} {span.score:.3f}")


def tiny(folder: str, way: str) -> str:
    """A tiny model of the right kind: a config, a tokenizer, and weights that `load_format="dummy"` makes up."""
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config: dict[str, Any] = {"vocab_size": 64, "max_position_embeddings": 64, **sizes}
    names = {"reward": ["reward"], "tokens": ["O", "B-PER", "I-PER", "LOC"]}.get(way, ["contradiction", "entailment"])
    config["id2label"] = {str(i): name for i, name in enumerate(names)}
    kind = {"tokens": "BertForTokenClassification", "words": "Qwen2ForCausalLM"}
    config["architectures"] = [kind.get(way, "BertForSequenceClassification")]
    config |= {"model_type": "qwen2", "num_key_value_heads": 2} if way == "words" else {"model_type": "bert"}
    Path(folder, "config.json").write_text(json.dumps(config))
    vocabulary = dict.fromkeys([*"? News This It is about a example match".split(), *TEXT.split(), ":", "."])
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(Path(folder, "tokenizer.json")))
    return folder


def main() -> None:
    """Runs one way, or all of them on tiny models."""
    ways = {"words": words, "zero_shot": zero_shot, "reward": reward, "tokens": tokens}
    if len(sys.argv) == 3:
        ways[sys.argv[1]](sys.argv[2])
        return
    for name in sys.argv[1:] or ways:
        with TemporaryDirectory() as folder:
            print(name)
            ways[name](tiny(folder, name), load_format="dummy", compilation_cache_dir=False)


if __name__ == "__main__":
    main()

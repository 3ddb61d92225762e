"""What a model has to compute for a text: the arithmetic that no runtime can leave out."""

from collections.abc import Sequence
from typing import Any

from benchmarks.peers.base import labels

DECODERS = frozenset({"qwen2", "qwen3"})
ENCODERS = frozenset({"bert", "xlm-roberta"})


def model_flops(config: dict[str, Any], lengths: Sequence[int]) -> int:
    """Floating point operations of the matrix multiplications for texts of these lengths, a multiply-add being two.

    Counted on real tokens: linear layers for every token, attention for every pair of tokens that may see each other
    (half of them in a decoder), the head for every text. Embeddings, norms, softmax and activations are not counted.

    Args:
        config: config.json of a model of benchmarks/models.py.
        lengths: tokens of every text.

    Raises:
        ValueError: a model type that is not known here.
    """
    kind, layers = config["model_type"], config["num_hidden_layers"]
    if kind not in DECODERS | ENCODERS:
        raise ValueError(f"the operations of a {kind!r} are not known; known are {sorted(DECODERS | ENCODERS)}")
    embed, mlp, heads = config["hidden_size"], config["intermediate_size"], config["num_attention_heads"]
    head_dim = config.get("head_dim") or embed // heads
    kv_heads = config["num_key_value_heads"] if kind in DECODERS else heads
    attention_linear = 2 * embed * head_dim * (heads + kv_heads)  # q and o, k and v
    mlp_linear = embed * mlp * (3 if kind in DECODERS else 2)
    linear = 2 * layers * (attention_linear + mlp_linear) * sum(lengths)
    seen = sum(n * (n + 1) // 2 if kind in DECODERS else n * n for n in lengths)
    attention = 2 * 2 * layers * heads * head_dim * seen  # scores, and the sum that they weigh
    dense = 0 if kind in DECODERS else embed * embed
    return linear + attention + 2 * len(lengths) * (dense + embed * labels(config))

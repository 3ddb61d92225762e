"""Operations counted by the formula and by hand."""

from typing import Any

import pytest

from benchmarks.flops import model_flops

BERT: dict[str, Any] = {
    "model_type": "bert",
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "id2label": {"0": "no", "1": "yes"},
}
QWEN: dict[str, Any] = {
    "model_type": "qwen3",
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "intermediate_size": 24,
    "id2label": {"0": "score"},
}


def matmul(rows: int, inner: int, columns: int) -> int:
    return 2 * rows * inner * columns


def test_encoder() -> None:
    n, heads, dim = 5, 2, 4
    layer = 4 * matmul(n, 8, 8) + matmul(n, 8, 32) + matmul(n, 32, 8)
    layer += heads * (matmul(n, dim, n) + matmul(n, n, dim))
    head = matmul(1, 8, 8) + matmul(1, 8, 2)
    assert model_flops(BERT, [n]) == 2 * layer + head


def test_decoder_sees_only_what_came_before() -> None:
    n, heads, dim = 5, 4, 4
    layer = matmul(n, 8, heads * dim) + 2 * matmul(n, 8, 2 * dim) + matmul(n, heads * dim, 8) + 3 * matmul(n, 8, 24)
    layer += heads * sum(2 * matmul(1, dim, seen) for seen in range(1, n + 1))
    assert model_flops(QWEN, [n]) == 2 * layer + matmul(1, 8, 1)


def test_head_dim_defaults_to_a_share_of_the_embedding() -> None:
    without = {key: value for key, value in QWEN.items() if key != "head_dim"}
    assert model_flops(without, [7]) == model_flops(QWEN | {"head_dim": 2}, [7])


def test_texts_add_up_and_padding_does_not_count() -> None:
    assert model_flops(BERT, [3, 9]) == model_flops(BERT, [3]) + model_flops(BERT, [9])
    assert model_flops(BERT, [3, 9]) < model_flops(BERT, [9, 9])


def test_bert_base_is_known() -> None:
    base = BERT | {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
    assert model_flops(base, [128]) == pytest.approx(22.35e9, rel=0.01)


def test_unknown_model() -> None:
    with pytest.raises(ValueError, match="'gpt2'"):
        model_flops(BERT | {"model_type": "gpt2"}, [1])

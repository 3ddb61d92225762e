"""What LLM says to checkpoints that cannot be used as they are."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxcls import LLM
from jaxcls.errors import CheckpointError, ConfigError, MissingHeadError
from tests.tiny import BERT, QWEN3, tensors, write_checkpoint


def write(path: Path, config: dict[str, Any], weights: dict[str, np.ndarray]) -> Path:
    write_checkpoint(path, config)
    save_file(weights, str(path / "model.safetensors"))
    return path


def test_a_local_directory_never_touches_the_network(bert_path: Path, no_network: None) -> None:
    assert LLM(bert_path).classify("the cat")[0].outputs is not None


def test_a_missing_head_is_refused_unless_asked_for(tmp_path: Path) -> None:
    weights = {
        name: value for name, value in tensors(BERT).items() if not name.startswith(("classifier", "bert.pooler"))
    }
    path = write(tmp_path, BERT, weights)
    with pytest.raises(MissingHeadError, match=r"classifier\.weight(.|\n)*head_init"):
        LLM(path)
    zeros = LLM(path, head_init="zeros").classify("the cat")[0].outputs
    assert zeros is not None
    assert zeros.logits == [0, 0, 0]
    rows = [LLM(path, head_init="random", seed=seed).classify("the cat")[0].outputs for seed in (0, 0, 1)]
    assert rows[0] == rows[1] != rows[2]


def test_one_error_names_every_tensor_that_is_wrong(tmp_path: Path) -> None:
    weights = tensors(QWEN3)
    del weights["model.layers.0.mlp.up_proj.weight"]
    weights["model.layers.1.self_attn.q_norm.weight"] = np.ones(7, np.float32)
    weights["model.layers.0.extra.weight"] = np.ones(3, np.float32)
    with pytest.raises(CheckpointError) as caught:
        LLM(write(tmp_path, QWEN3, weights))
    for name in ("0.mlp.up_proj.weight", "1.self_attn.q_norm.weight", "0.extra.weight"):
        assert f"model.layers.{name}" in str(caught.value)


def test_config_and_weights_that_disagree(tmp_path: Path) -> None:
    path = write(tmp_path, BERT | {"intermediate_size": 48}, tensors(BERT))
    with pytest.raises(CheckpointError, match=r"intermediate\.dense\.weight"):
        LLM(path)


def test_weights_that_are_not_finite(tmp_path: Path) -> None:
    weights = tensors(BERT)
    weights["bert.encoder.layer.1.output.dense.weight"][3, 4] = np.nan
    with pytest.raises(CheckpointError, match=r"bert\.encoder\.layer\.1\.output\.dense\.weight"):
        LLM(write(tmp_path, BERT, weights))


def test_broken_and_truncated_safetensors(tmp_path: Path, bert_path: Path) -> None:
    data = (bert_path / "model.safetensors").read_bytes()
    for name, content in {"cut": data[: len(data) // 2], "garbage": b"\x00" * 50, "empty": b""}.items():
        path = write_checkpoint(tmp_path / name, BERT)
        (path / "model.safetensors").write_bytes(content)
        with pytest.raises(CheckpointError, match=r"model\.safetensors"):
            LLM(path)


def test_pickled_weights_are_refused_with_the_way_out(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, BERT)
    (path / "model.safetensors").rename(path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin(.|\n)*save_pretrained"):
        LLM(path)


def test_no_such_model(tmp_path: Path, no_network: None) -> None:
    with pytest.raises(CheckpointError, match="no directory"):
        LLM(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"no config\.json"):
        LLM(tmp_path / "empty")


def test_broken_config(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, BERT)
    (path / "config.json").write_text('{"architectures": [')
    with pytest.raises(ConfigError, match="not valid JSON"):
        LLM(path)
    (path / "config.json").write_text("[]")
    with pytest.raises(ConfigError, match="JSON object"):
        LLM(path)


def test_unknown_architecture_lists_near_names_and_what_to_do(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, BERT)
    (path / "config.json").write_text(json.dumps(BERT | {"architectures": ["BertForQuestionAnswering"]}))
    with pytest.raises(ConfigError, match=r"'BertForQuestionAnswering'.*BertForSequenceClassification.*hf_overrides"):
        LLM(path)
    llm = LLM(path, hf_overrides={"architectures": ["BertForSequenceClassification"]})
    assert llm.classify("the cat")[0].outputs is not None
    with pytest.raises(ConfigError, match="must name one class"):
        LLM(path, hf_overrides={"architectures": None})


def test_overrides(bert_path: Path) -> None:
    renamed = LLM(bert_path, hf_overrides={"id2label": {0: "bad", 1: "so so", 2: "good"}})
    out = renamed.classify("the cat")[0].outputs
    assert out is not None
    assert out.label in ("bad", "so so", "good")

    def rename(config: Any) -> Any:
        config.id2label = {0: "x", 1: "y", 2: "z"}
        return config

    out = LLM(bert_path, hf_overrides=rename).classify("the cat")[0].outputs
    assert out is not None
    assert out.label in "xyz"
    with pytest.raises(ConfigError, match="unknown labels"):
        LLM(bert_path, hf_overrides={"label2id": {"happy": 0}})
    with pytest.raises(ConfigError, match="ids of id2label must be"):
        LLM(bert_path, hf_overrides={"id2label": {1: "a", 2: "b"}})


def test_limits_of_length(bert_path: Path, tmp_path: Path) -> None:
    assert LLM(bert_path, max_model_len=40).model.checkpoint.max_len == 40
    with pytest.raises(ConfigError, match="positions for 160 tokens"):
        LLM(bert_path, max_model_len=161)
    path = write_checkpoint(tmp_path, BERT)
    (path / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 100}))
    assert LLM(path).model.checkpoint.max_len == 100
    (path / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 64, "do_lower_case": True}))
    llm = LLM(path)
    assert llm.model.checkpoint.max_len == 64
    assert llm.classify("The CAT")[0].prompt_token_ids == llm.classify("the cat")[0].prompt_token_ids


def test_limits_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, BERT)
    (path / "tokenizer_config.json").write_text(json.dumps({"model_max_length": "long"}))
    with pytest.raises(ConfigError, match="model_max_length = 'long'"):
        LLM(path)


def test_token_types_only_where_the_model_is_given_them(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, BERT)
    typed = LLM(path).classify(("the cat", "a dog"))[0]
    (path / "tokenizer_config.json").write_text(json.dumps({"model_input_names": ["input_ids", "attention_mask"]}))
    untyped = LLM(path).classify(("the cat", "a dog"))[0]
    zeros = LLM(path).classify(typed.prompt_token_ids)[0]
    assert untyped.prompt_token_ids == typed.prompt_token_ids
    assert untyped.outputs == zeros.outputs != typed.outputs


def test_sentence_transformers_pooling_is_honoured(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, BERT)
    (path / "modules.json").write_text(
        json.dumps([{"idx": 1, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}])
    )
    (path / "1_Pooling").mkdir()
    (path / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    checkpoint = LLM(path).model.checkpoint
    assert (checkpoint.pooling_type, checkpoint.pooling_reason) == ("MEAN", "modules.json")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gpu_memory_utilization": 0.9}, "gpu_memory_utilization: memory is taken"),
        ({"dtpye": "float32"}, "dtpye: no such argument"),
        ({"dtype": "fp32"}, "dtype"),
        ({"trust_remote_code": True}, "never runs code"),
        ({"max_num_seqs": 0}, "max_num_seqs"),
        ({"pooler_config": {"softmax": True}}, "use `use_activation` instead"),
    ],
)
def test_arguments_that_cannot_be_honoured(bert_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LLM(bert_path, **options)

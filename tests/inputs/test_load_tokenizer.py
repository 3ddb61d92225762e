"""A checkpoint's tokenizer files: tokenizer.json alone, or what transformers makes of all of them."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from tokenizer_files import KINDS, added, byte_level, roberta, save, with_eos, wordpiece
from tokenizers import Tokenizer, models, processors
from transformers import AutoTokenizer

from jaxcls.errors import ConfigError
from jaxcls.inputs.load_tokenizer import load_tokenizer, read_json, token_id

TEXTS = ["the cat", "The DOG ran", "a <new> film <eos>", " bad  ending!", ""]
BERT = {"tokenizer_class": "BertTokenizerFast", "unk_token": "[UNK]", "sep_token": "[SEP]", "cls_token": "[CLS]"}
BERT |= {"pad_token": "[PAD]", "mask_token": "[UNK]"}
GENERIC = {"tokenizer_class": "PreTrainedTokenizerFast"}


def ids(backend: Tokenizer) -> list[list[int]]:
    return [backend.encode(text).ids for text in TEXTS]


def auto_ids(path: Path) -> list[list[int]]:
    tokenizer: Any = AutoTokenizer.from_pretrained(str(path))
    return [tokenizer(text)["input_ids"] for text in TEXTS]


@pytest.fixture
def without_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    """An import of transformers fails, as where only tokenizer.json is needed."""
    monkeypatch.setitem(sys.modules, "transformers", None)


@pytest.mark.usefixtures("without_transformers")
@pytest.mark.parametrize("kind", KINDS)
def test_tokenizer_json_is_the_whole_tokenizer(kind: str, tmp_path: Path) -> None:
    tokenizer = KINDS[kind]()
    files = load_tokenizer(save(tokenizer, tmp_path))
    assert ids(files.backend) == ids(tokenizer)
    assert files.side == "right"


@pytest.mark.usefixtures("without_transformers")
@pytest.mark.parametrize(
    ("tokenizer", "config"),
    [
        (wordpiece, {**BERT, "do_lower_case": True, "model_max_length": 512}),
        (lambda: wordpiece(lowercase=False), {**BERT, "do_lower_case": False}),
        (with_eos, {**GENERIC, "eos_token": "<eos>", "add_eos_token": True}),
        (with_eos, {**GENERIC, "eos_token": "<eos>", "bos_token": None, "add_bos_token": False}),
        (roberta, {**GENERIC, "bos_token": {"content": "<s>"}, "add_bos_token": True}),
        (byte_level, {**GENERIC, "eos_token": "<pad>", "add_eos_token": False, "added_tokens_decoder": {}}),
        (byte_level, {**GENERIC, "added_tokens_decoder": {"0": added("<pad>")}}),
    ],
)
def test_a_config_that_agrees_changes_nothing(tokenizer: Any, config: dict[str, Any], tmp_path: Path) -> None:
    assert ids(load_tokenizer(save(tokenizer(), tmp_path, config)).backend) == ids(tokenizer())


@pytest.mark.usefixtures("without_transformers")
def test_stored_padding_contradicts_nothing(tmp_path: Path) -> None:
    tokenizer = with_eos()
    tokenizer.enable_padding(length=16)
    tokenizer.enable_truncation(1)
    config = {**GENERIC, "eos_token": "<eos>", "add_eos_token": True}
    assert ids(load_tokenizer(save(tokenizer, tmp_path, config)).backend) == ids(with_eos())


@pytest.mark.parametrize(
    ("tokenizer", "config"),
    [
        (wordpiece, {**BERT, "do_lower_case": False}),
        (lambda: wordpiece(lowercase=False), {**BERT, "do_lower_case": True}),
        (byte_level, {**GENERIC, "added_tokens_decoder": {"300": added("<new>")}}),
        (
            with_eos,
            {**GENERIC, "eos_token": "<eos>", "added_tokens_decoder": {"1": added("<eos>"), "9999": added("x")}},
        ),
        (with_eos, {**GENERIC, "eos_token": "<eos>", "add_eos_token": False}),
        (byte_level, {**GENERIC, "eos_token": "<pad>", "add_eos_token": True}),
        (roberta, {**GENERIC, "bos_token": "<s>", "add_bos_token": False}),
        (byte_level, {**GENERIC, "bos_token": "<pad>", "add_bos_token": True}),
    ],
)
def test_a_config_that_disagrees_is_read_as_transformers_does(
    tokenizer: Any, config: dict[str, Any], tmp_path: Path
) -> None:
    path = save(tokenizer(), tmp_path, config)
    assert ids(load_tokenizer(path).backend) == auto_ids(path)


@pytest.mark.parametrize(
    ("tokenizer", "config"),
    [
        (wordpiece, {**BERT, "do_lower_case": False}),
        (byte_level, {**GENERIC, "added_tokens_decoder": {"300": added("<new>")}}),
    ],
)
def test_such_a_config_does_change_the_ids(tokenizer: Any, config: dict[str, Any], tmp_path: Path) -> None:
    assert ids(load_tokenizer(save(tokenizer(), tmp_path, config)).backend) != ids(tokenizer())


def test_a_vocabulary_file_alone_is_read_by_transformers(tmp_path: Path) -> None:
    vocabulary = wordpiece().get_vocab()
    (tmp_path / "vocab.txt").write_text("\n".join(sorted(vocabulary, key=vocabulary.__getitem__)))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**BERT, "do_lower_case": True}))
    assert ids(load_tokenizer(tmp_path).backend) == auto_ids(tmp_path) == ids(wordpiece())


@pytest.mark.parametrize("config", [None, {**BERT, "do_lower_case": False}])
def test_stored_truncation_and_padding_are_off(config: dict[str, Any] | None, tmp_path: Path) -> None:
    tokenizer = wordpiece()
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=12)
    backend = load_tokenizer(save(tokenizer, tmp_path, config)).backend
    assert (backend.truncation, backend.padding) == (None, None)
    assert [len(backend.encode(text).ids) for text in ("the", "the cat sat on the mat")] == [3, 8]


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_truncation_side_of_the_config(side: str, tmp_path: Path) -> None:
    assert load_tokenizer(save(wordpiece(), tmp_path, {"truncation_side": side})).side == side


def test_a_side_that_means_nothing_is_refused_with_its_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tokenizer_config\.json: truncation_side = 'middle'; known are left and"):
        load_tokenizer(save(wordpiece(), tmp_path, {"truncation_side": "middle"}))


def test_pairs_have_two_types_without_a_post_processor(tmp_path: Path) -> None:
    backend = load_tokenizer(save(byte_level(), tmp_path)).backend
    parts = [backend.encode(text, add_special_tokens=False) for text in ("the cat", "a film")]
    assert backend.post_process(*parts).type_ids == backend.encode("the cat", "a film").type_ids
    assert set(backend.encode("the cat", "a film").type_ids) == {0, 1}


def test_a_post_processor_of_the_file_is_kept(tmp_path: Path) -> None:
    tokenizer = byte_level()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    assert ids(load_tokenizer(save(tokenizer, tmp_path)).backend) == ids(tokenizer)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"model": {"type": "Nonsense"}}', "\x00\xff"])
def test_a_broken_tokenizer_json_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"tokenizer\.json cannot be read: "):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("content", "reason"), [(b"{", "not valid JSON"), (b"[1]", "JSON object, got list"), (b"\xff", "not valid JSON")]
)
def test_a_broken_tokenizer_config_is_named(content: bytes, reason: str, tmp_path: Path) -> None:
    save(wordpiece(), tmp_path)
    (tmp_path / "tokenizer_config.json").write_bytes(content)
    with pytest.raises(ConfigError, match=rf"tokenizer_config\.json.*{reason}"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("model_type", [None, "bert", "roberta", "xlm-roberta", "llama", "gemma", "qwen2", "qwen3"])
@pytest.mark.parametrize("config", [None, BERT, GENERIC, {"tokenizer_class": "NoSuchTokenizer"}])
def test_a_directory_without_a_vocabulary_says_what_to_do(
    config: dict[str, Any] | None, model_type: str | None, tmp_path: Path
) -> None:
    """transformers makes a tokenizer of nothing but special tokens there."""
    if config is not None:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    if model_type is not None:
        (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    with pytest.raises(ConfigError) as info:
        load_tokenizer(tmp_path)
    message = str(info.value)
    assert str(tmp_path) in message
    assert "skip_tokenizer_init=True" in message


def test_json_objects_and_their_absence(tmp_path: Path) -> None:
    assert read_json(tmp_path / "absent.json") == {}
    (tmp_path / "present.json").write_text('{"a": "é"}', encoding="utf-8")
    assert read_json(tmp_path / "present.json") == {"a": "é"}


def test_a_token_that_the_tokenizer_never_gives() -> None:
    """In the vocabulary, but no merge leads to it: its logit would say nothing."""
    vocabulary = {token: i for i, token in enumerate([*"yesno", "ye", "yes"])}
    split = Tokenizer(models.BPE(vocabulary, [("y", "e")]))
    with pytest.raises(ConfigError, match=r"'yes' is in the vocabulary, but .* splits the word into \['ye', 's'\]"):
        token_id(split, "yes", whole=True)
    whole = Tokenizer(models.BPE(vocabulary, [("y", "e"), ("ye", "s")]))
    assert token_id(whole, "yes", whole=True) == vocabulary["yes"]

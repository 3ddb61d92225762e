"""Conversations -> text, by the checkpoint's chat template, rendered as transformers renders it."""

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxcls.errors import ConfigError, PromptError
from jaxcls.inputs.load_tokenizer import read_json

Message = Mapping[str, Any]
_NONE: Mapping[str, Any] = {}
_SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


@dataclasses.dataclass(frozen=True)
class ChatTemplate:
    """A Jinja template and the special tokens that it may name."""

    source: str
    special: Mapping[str, str]

    def render(self, messages: Sequence[Message], variables: Mapping[str, Any] = _NONE) -> str:
        """The text of a conversation, special tokens included.

        Args:
            messages: what is said, by roles.
            variables: what else the template reads.

        Raises:
            PromptError: the template refuses the conversation.
            ConfigError: the template is broken.
        """
        from jinja2 import TemplateError

        # What operations on the messages can raise, besides what the template says itself.
        problems = (TemplateError, TypeError, ValueError, LookupError, ArithmeticError)
        given = {"tools": None, "add_generation_prompt": False, **self.special, **variables}
        try:
            return self._compiled.render(messages=list(messages), **given)
        except problems as error:
            raise PromptError(f"the chat template refuses this conversation: {error}") from None

    @functools.cached_property
    def variables(self) -> frozenset[str]:
        """What the template reads of what it does not set itself, but for what every template is given."""
        from jinja2 import meta

        names = meta.find_undeclared_variables(self._compiled.environment.parse(self.source))
        return frozenset(names) - {"messages", "tools", "raise_exception"}

    @functools.cached_property
    def _compiled(self) -> Any:
        import jinja2
        from jinja2.ext import loopcontrols
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        def refuse(message: str) -> None:
            raise jinja2.TemplateError(message)

        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = refuse
        try:
            return environment.from_string(self.source)
        except jinja2.TemplateSyntaxError as error:
            raise ConfigError(f"the chat template cannot be read: {error}") from None


def load_chat_template(path: Path) -> ChatTemplate | None:
    """The template of a checkpoint: chat_template.jinja, else tokenizer_config.json; None if it has none."""
    file = path / "chat_template.jinja"
    if file.is_file():
        source: Any = file.read_text(encoding="utf-8")
    else:
        source = read_json(path / "tokenizer_config.json").get("chat_template")
    if isinstance(source, list):
        source = next((entry.get("template") for entry in source if entry.get("name") == "default"), None)
    return None if source is None else ChatTemplate(source, special_tokens(path))


def special_tokens(path: Path) -> dict[str, str]:
    """The special tokens that tokenizer_config.json names: "bos_token" -> its text."""
    config = read_json(path / "tokenizer_config.json")
    special = {key: config.get(key) for key in _SPECIAL}
    texts = {key: token.get("content") if isinstance(token, dict) else token for key, token in special.items()}
    return {key: text for key, text in texts.items() if text is not None}


def is_conversation(value: Any) -> bool:
    """Whether it is a list of messages."""
    return isinstance(value, list) and bool(value) and all(isinstance(m, dict) and "role" in m for m in value)


def check_messages(messages: Sequence[Message]) -> None:
    """Raises PromptError unless every message has a role and a text."""
    for message in messages:
        if not isinstance(message.get("role"), str) or not isinstance(message.get("content"), str):
            raise PromptError(f"a message needs a 'role' and a 'content', both strings; got {dict(message)!r}"[:300])


def text_part(part: Any) -> str:
    """The text of a part of a message. Raises PromptError if it is none."""
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind != "text":
        raise PromptError(f"this model takes texts; a part is of type {kind!r}")
    if not isinstance(part.get("text"), str):
        raise PromptError(f"a part of type 'text' needs a 'text', a string; got {part!r}"[:300])
    return part["text"]


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, sort_keys: bool = False) -> str:
    """Jinja's own escapes HTML, which no chat template means."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, sort_keys=sort_keys)

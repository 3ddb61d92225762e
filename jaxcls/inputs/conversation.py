"""Conversations as prompts: rendered by a chat template, and cut, where they are too long, in what was said."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from jaxcls.errors import ConfigError, PromptError
from jaxcls.inputs.chat import ChatTemplate, special_tokens, text_part
from jaxcls.inputs.prompt import TextPrompt
from jaxcls.inputs.template import Piece, Places, Texts
from jaxcls.inputs.tokenize import TextTokenizer

# What a caller's variables must not replace.
_RESERVED = frozenset(("messages", "chat_template", "tools", "tokenize", "add_generation_prompt", "documents"))


@dataclasses.dataclass(frozen=True)
class Conversation:
    """A Template (see `template`) of one conversation, whose text is what the user said last.

    Attributes:
        chat: renders it.
        messages: roles and contents, texts only.
        spoken: which of the messages is cut where there are too many tokens.
        variables: of the template.
        special: whether the tokenizer's special tokens are added to those of the template.
        open_ended: whether the prompt ends with the last message's text.
    """

    chat: ChatTemplate
    messages: tuple[Mapping[str, Any], ...]
    spoken: int
    variables: Mapping[str, Any]
    special: bool
    open_ended: bool

    def render(self, texts: Texts, variables: Mapping[str, Any]) -> list[Piece]:
        """See Template."""
        text = texts["text"]
        prompt = self._prompt(text)
        return [Piece(prompt, self.special, lambda: self._places(prompt, text))]

    def check(self, variables: Mapping[str, Any]) -> None:
        """See Template; the variables were checked when it was made."""

    def _prompt(self, text: str) -> str:
        messages = list(self.messages)
        messages[self.spoken] = {**messages[self.spoken], "content": text}
        prompt = self.chat.render(messages, self.variables)
        if not self.open_ended:
            return prompt
        # As transformers: the template's end of the last message is left out.
        last = messages[-1]["content"]
        at = prompt.rfind(last.strip())
        if at < 0:
            raise PromptError("the chat template changes the last message, so that it cannot be continued")
        kept = last.lstrip() if prompt.startswith(last.lstrip(), at) else last.strip()
        return prompt[: at + len(kept)]

    def _places(self, prompt: str, text: str) -> Places:
        """Where the text is in the prompt: it is rendered again, with a mark before and after."""
        used = {*prompt, *text}
        first, last = [mark for mark in map(chr, range(0xE000, 0xE000 + len(used) + 2)) if mark not in used][:2]
        for form in (text, text.strip()):
            rendered = self._prompt(first + form + last)
            marked = (rendered.count(first), rendered.count(last)) == (1, 1)
            if marked and rendered.replace(first, "").replace(last, "") == prompt:
                start = rendered.index(first)
                return {"text": (start, start + len(form))}
        raise PromptError(
            "the conversation is too long, and where to cut it cannot be told, because the chat template changes its "
            "texts: shorten it"
        )


def conversation(
    tokenizer: TextTokenizer,
    messages: Sequence[Mapping[str, Any]],
    *,
    chat_template: str | None = None,
    variables: Mapping[str, Any] | None = None,
    add_generation_prompt: bool = False,
    continue_final_message: bool = False,
    add_special_tokens: bool = False,
) -> TextPrompt:
    """A prompt of a conversation, for `LLM.classify`, `encode` and `embed`. Truncation cuts what the user said last.

    Args:
        tokenizer: of the model.
        messages: {"role": ..., "content": text or text parts}.
        chat_template: Jinja, instead of the model's.
        variables: what else the template reads.
        add_generation_prompt: whether it ends with the beginning of an answer.
        continue_final_message: whether it ends with the last message's text.
        add_special_tokens: whether the tokenizer's are added; templates mostly hold them.

    Raises:
        PromptError: no messages, or something in them that is no text.
        ConfigError: no template, or arguments that contradict each other or do not fit it.
    """
    if continue_final_message and add_generation_prompt:
        raise ConfigError("continue_final_message and add_generation_prompt exclude each other: give one of them")
    chat = tokenizer.chat_template
    if chat_template is not None:
        chat = ChatTemplate(chat_template, {} if tokenizer.path is None else special_tokens(tokenizer.path))
    if chat is None:
        raise ConfigError("this model has no chat template: load it with one (chat_template), or give finished texts")
    given = dict(variables or {})
    if wrong := sorted(given.keys() & _RESERVED):
        raise ConfigError(f"chat_template_kwargs cannot hold {', '.join(wrong)}, which are the template's own")
    if unread := sorted(given.keys() - chat.variables):
        raise ConfigError(f"the chat template does not read {', '.join(unread)}")
    if not messages:
        raise PromptError("there are no messages")
    plain = tuple({**message, "content": _content(message)} for message in messages)
    said = [index for index, message in enumerate(plain) if message.get("role") == "user"]
    spoken = said[-1] if said else len(plain) - 1
    template = Conversation(
        chat,
        plain,
        spoken,
        {**given, "add_generation_prompt": add_generation_prompt},
        add_special_tokens,
        continue_final_message,
    )
    return TextPrompt(plain[spoken]["content"], template=template)


def _content(message: Mapping[str, Any]) -> str:
    """The text of a message; parts are joined by newlines, as vLLM joins them."""
    content = message.get("content")
    if isinstance(content, list):
        return "\n".join(map(text_part, content))
    if not isinstance(content, str) or not isinstance(message.get("role"), str):
        raise PromptError("a message needs a 'role' and a 'content': a text, or text parts")
    return content

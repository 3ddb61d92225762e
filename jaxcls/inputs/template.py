"""prompt_template: what a text is put into before it is tokenised."""

import dataclasses
import string
from typing import Literal

from jaxcls.errors import ConfigError, PromptError

Field = Literal["text", "text_pair"]


@dataclasses.dataclass(frozen=True)
class PromptTemplate:
    """Literal text and the places of one or two texts.

    Attributes:
        pieces: (literal, field after it or None), in order.
    """

    pieces: tuple[tuple[str, Field | None], ...]

    @property
    def fields(self) -> set[Field]:
        """The texts it has places for."""
        return {field for _, field in self.pieces if field is not None}

    def fill(self, texts: dict[Field, str]) -> tuple[str, dict[Field, tuple[int, int]]]:
        """The whole prompt, and where each text lies in it, in characters.

        Raises:
            PromptError: a text without a place, or a place without a text.
        """
        if set(texts) != self.fields:
            needs = "a pair" if "text_pair" in self.fields else "a single text"
            raise PromptError(f"the prompt_template takes {needs}")
        prompt, places = "", {}
        for literal, field in self.pieces:
            prompt += literal
            if field is not None:
                places[field] = len(prompt), len(prompt) + len(texts[field])
                prompt += texts[field]
        return prompt, places


def parse_template(template: str) -> PromptTemplate:
    """Reads a template: `{text}` and `{text_pair}` once each, doubled braces for braces.

    Raises:
        ConfigError: no `{text}`, another field, or a brace too many.
    """
    try:
        parsed = list(string.Formatter().parse(template))
    except ValueError as error:
        raise ConfigError(f"prompt_template {template!r}: {error}; write a brace as {{{{ or }}}}") from None
    fields = [field for _, field, _, _ in parsed if field is not None]
    extras = any(spec or conversion for _, _, spec, conversion in parsed)
    if extras or len(set(fields)) < len(fields) or not {"text"} <= set(fields) <= {"text", "text_pair"}:
        raise ConfigError(
            f"prompt_template {template!r} must hold {{text}} once, and {{text_pair}} once if it is for pairs; other "
            "braces are doubled"
        )
    return PromptTemplate(tuple((literal, field) for literal, field, _, _ in parsed))  # pyright: ignore[reportArgumentType]

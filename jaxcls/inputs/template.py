"""Templates: what one or two texts are put into before they are tokenised, and where in it they are."""

import dataclasses
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeAlias

from tokenizers import Encoding

from jaxcls.errors import ConfigError, PromptError

Field = Literal["text", "text_pair"]
Texts: TypeAlias = Mapping[Field, str]
Places: TypeAlias = Mapping[Field, tuple[int, int]]
PieceKey: TypeAlias = tuple[str | tuple[str, str], bool, bool]


@dataclasses.dataclass(frozen=True)
class Piece:
    """A part of a prompt that is tokenised on its own.

    Attributes:
        text: what is tokenised; two texts: a pair, joined as the tokenizer joins pairs.
        special: whether the tokenizer's special tokens are added.
        places: where texts lie in it, in characters: (start, end), asked for only where something must be cut; None: it
            consists of them.
        located: whether its tokens' places are wanted at once.
    """

    text: str | tuple[str, str]
    special: bool
    places: Callable[[], Places] | None = None
    located: bool = False

    @property
    def key(self) -> PieceKey:
        """What decides its tokens, and what is known of them."""
        return self.text, self.special, self.located

    def cuttable(self, encoding: Encoding) -> Iterator[tuple[Field, int]]:
        """The tokens that belong to a text and to nothing else: (text, index).

        Raises:
            PromptError: where the texts are cannot be told.
        """
        if self.places is None:
            for index, sequence in enumerate(encoding.sequence_ids):
                if sequence is not None:
                    yield ("text_pair" if sequence else "text"), index
            return
        places = self.places().items()
        for index, (start, end) in enumerate(encoding.offsets):
            for field, (first, last) in places:
                if first <= start < end <= last:
                    yield field, index


class Template(Protocol):
    """Texts -> the pieces of the prompt."""

    def render(self, texts: Texts, variables: Mapping[str, Any]) -> Sequence[Piece]:
        """The prompt of one or two texts.

        Args:
            texts: one or two.
            variables: what else the template may have places for, such as an "instruction".

        Raises:
            PromptError: a text without a place, or a place without a text.
        """
        ...

    def check(self, variables: Mapping[str, Any]) -> None:
        """Raises ConfigError if there is a variable that this template does not have."""
        ...


# (literal, field after it or None), in order.
_Parts: TypeAlias = tuple[tuple[str, str | None], ...]


@dataclasses.dataclass(frozen=True)
class TextTemplate:
    """Literal texts with places for texts, in pieces.

    Attributes:
        pieces: of a prompt without an instruction.
        instructed: of one with an instruction; None: it takes none.
        special: whether the tokenizer's special tokens are added.
        strip: whether white space around the texts is left out.
    """

    pieces: tuple[_Parts, ...]
    instructed: tuple[_Parts, ...] | None = None
    special: bool = True
    strip: bool = False

    def render(self, texts: Texts, variables: Mapping[str, Any]) -> list[Piece]:
        """See Template; a variable "instruction" that is empty is none."""
        chosen = self.instructed if self.instructed and variables.get("instruction") else self.pieces
        if set(texts) != self.fields:
            needs = "a pair" if "text_pair" in self.fields else "a single text"
            raise PromptError(f"the prompt_template takes {needs}")
        values = {field: text.strip() if self.strip else text for field, text in texts.items()}
        return [self._piece(parts, {**variables, **values}) for parts in chosen]

    def check(self, variables: Mapping[str, Any]) -> None:
        """See Template."""
        if self.instructed is None and "instruction" in variables:
            raise ConfigError("this prompt has no place for an instruction")
        if unknown := sorted(variables.keys() - {"instruction"}):
            raise ConfigError(f"this prompt has no place for {', '.join(unknown)}")

    @property
    def fields(self) -> set[str]:
        """The texts it has places for."""
        return {field for parts in self.pieces for _, field in parts if field is not None}

    def _piece(self, parts: _Parts, values: Mapping[str, str]) -> Piece:
        text = ""
        places: dict[Field, tuple[int, int]] = {}
        for literal, field in parts:
            text += literal
            if field is not None:
                if field in ("text", "text_pair"):
                    places[field] = len(text), len(text) + len(values[field])
                text += values[field]
        return Piece(text, self.special, lambda: places)


def text_template(
    *pieces: str, instructed: Sequence[str] | None = None, special: bool = True, strip: bool = False
) -> TextTemplate:
    """A TextTemplate of format strings with {text}, {text_pair} and, in `instructed`, {instruction}."""
    return TextTemplate(_parse(pieces), None if instructed is None else _parse(instructed), special, strip)


def parse_template(template: str) -> TextTemplate:
    """A user's template of one piece: `{text}` and `{text_pair}` once each, doubled braces for braces.

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
    return text_template(template)


def _parse(pieces: Sequence[str]) -> tuple[_Parts, ...]:
    return tuple(tuple((part[0], part[1]) for part in string.Formatter().parse(piece)) for piece in pieces)

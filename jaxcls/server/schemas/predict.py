"""TEI's /predict."""

from typing import Annotated, Literal

from pydantic import Field

from jaxcls.server.schemas.common import Strict

_One = Annotated[list[str], Field(min_length=1, max_length=2)]


class PredictRequest(Strict):
    """A text; a pair [a, b]; or a batch of both, each in a list of its own: [[a], [a, b]]."""

    inputs: str | _One | Annotated[list[_One], Field(min_length=1)]
    truncate: Annotated[bool, Field(description="Cut what is too long.")] = False
    truncation_direction: Literal["Left", "Right", "left", "right"] = "Right"
    raw_scores: Annotated[bool, Field(description="Logits.")] = False

    def sequences(self) -> tuple[list[list[str]], bool]:
        """One or two texts each, and whether it was a batch."""
        if isinstance(self.inputs, str):
            return [[self.inputs]], False
        one = [entry for entry in self.inputs if isinstance(entry, str)]
        if one:
            return [one], False
        return [entry for entry in self.inputs if isinstance(entry, list)], True

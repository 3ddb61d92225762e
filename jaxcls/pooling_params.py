"""Per-request parameters."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from jaxcls.config.pooler import refuse_removed


class PoolingParams(BaseModel):
    """What one request asks of the pooler.

    Attributes:
        use_activation: True: probs; False: the calibrated logits in their place; None: the pooler's default.
        truncate_prompt_tokens: keep at most this many tokens, special tokens included; -1: the model's maximum. The
            same as `tokenization_kwargs={"truncate_prompt_tokens": ...}`, for this request.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    use_activation: bool | None = None
    truncate_prompt_tokens: int | None = Field(default=None, ge=-1)

    @model_validator(mode="before")
    @classmethod
    def _refuse_removed(cls, values: Any) -> Any:
        if isinstance(values, dict):
            refuse_removed(values, "PoolingParams")
        return values

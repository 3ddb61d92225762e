"""Per-request parameters."""

from pydantic import Field, field_validator

from jaxcls.config.pooler import Settings
from jaxcls.errors import ConfigError


class PoolingParams(Settings):
    """What one request asks of the pooler.

    Attributes:
        use_activation: True: probs, or embeddings of length 1; False: the calibrated logits in their place, or
            embeddings as they are; None: the pooler's default.
        truncate_prompt_tokens: keep at most this many tokens, special tokens included; -1: the model's maximum. The
            same as `tokenization_kwargs={"truncate_prompt_tokens": ...}`, for this request.
        dimensions: of an embedding, keep the first so many (Matryoshka); what is kept has length 1 again.
        cache_salt: prompts share what was computed of a common prefix only with those of the same salt, so that the
            time which one takes says nothing about the others; at most 128 characters, no '@', slash, backslash or NUL.
        priority: smaller runs earlier; only with scheduling_policy="priority".
    """

    use_activation: bool | None = None
    truncate_prompt_tokens: int | None = Field(default=None, ge=-1)
    dimensions: int | None = Field(default=None, ge=1)
    cache_salt: str | None = Field(default=None, min_length=1, max_length=128)
    priority: int = 0

    @field_validator("cache_salt")
    @classmethod
    def _no_path(cls, value: str | None) -> str | None:
        # As vLLM: salts may become parts of names.
        if value is not None and any(character in value for character in "@/\\\0"):
            raise ConfigError("cache_salt may hold none of '@', '/', '\\' and NUL")
        return value

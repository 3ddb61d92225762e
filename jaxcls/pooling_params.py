"""Per-request parameters."""

from pydantic import Field

from jaxcls.config.pooler import Settings


class PoolingParams(Settings):
    """What one request asks of the pooler.

    Attributes:
        use_activation: True: probs, or embeddings of length 1; False: the calibrated logits in their place, or
            embeddings as they are; None: the pooler's default.
        truncate_prompt_tokens: keep at most this many tokens, special tokens included; -1: the model's maximum. The
            same as `tokenization_kwargs={"truncate_prompt_tokens": ...}`, for this request.
        dimensions: of an embedding, keep the first so many (Matryoshka); what is kept has length 1 again.
    """

    use_activation: bool | None = None
    truncate_prompt_tokens: int | None = Field(default=None, ge=-1)
    dimensions: int | None = Field(default=None, ge=1)

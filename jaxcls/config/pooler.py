"""PoolerConfig: how pooled hidden states become scores."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from jaxcls.errors import ConfigError

# What is scored: the first token of a sequence, the last that is not padding, the mean of all; or each token, whose
# logits are averaged (MEAN_LOGITS), given as they are (ALL), or given where a step of reasoning ends (STEP).
Pooling = Literal["CLS", "LAST", "MEAN", "MEAN_LOGITS", "ALL", "STEP"]
TOKEN_POOLING: tuple[Pooling, ...] = ("ALL", "STEP")

_REMOVED = {"softmax": "use_activation", "activation": "use_activation", "normalize": "use_activation"}


class Settings(BaseModel):
    """Frozen parameters that users construct; whatever is wrong with them is one ConfigError."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def __init__(self, **values: Any):
        name = type(self).__name__
        for removed in sorted(_REMOVED.keys() & values):
            raise ConfigError(f"{name}: parameter `{removed}` was removed; use `{_REMOVED[removed]}` instead")
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigError(f"{name}: {problems(error)}") from None


def problems(error: ValidationError) -> str:
    """What pydantic found, in a line."""
    found = []
    for item in error.errors():
        where = ".".join(map(str, item["loc"]))
        # Errors of our own say all there is to say; pydantic's need the value.
        own = item.get("ctx", {}).get("error")
        found.append(str(own) if own is not None else f"{where}: {item['msg']} (got {item['input']!r})")
    return "; ".join(found)


class PoolerConfig(Settings):
    """Overrides of a checkpoint's pooling; every field None means: as the checkpoint says.

    Logits are calibrated as (logits - logit_mean) / logit_sigma before the activation.

    Attributes:
        pooling_type: CLS (first token), LAST (last token that is not padding) or MEAN, for `classify`; STEP (the
            tokens that end a step of reasoning), for process rewards, or ALL their tokens.
        step_tag_id: with STEP, the token that ends a step.
        returned_token_ids: with STEP, the tokens of a causal language model whose logits are the classes', the good one
            first.
        use_activation: default of requests that do not say; True if None.
        logit_mean: subtracted from the logits. `logit_bias` is an older name for it.
        logit_sigma: divides the logits, not 0. `logit_scale` is an older name for its inverse.
    """

    pooling_type: Literal["CLS", "LAST", "MEAN", "ALL", "STEP"] | None = None
    use_activation: bool | None = None
    logit_mean: float | None = Field(default=None, allow_inf_nan=False)
    logit_sigma: float | None = Field(default=None, allow_inf_nan=False)
    logit_bias: float | None = Field(default=None, allow_inf_nan=False, exclude=True)
    logit_scale: float | None = Field(default=None, allow_inf_nan=False, exclude=True)
    step_tag_id: int | None = Field(default=None, ge=0)
    returned_token_ids: tuple[int, ...] | None = Field(default=None, min_length=2)

    @model_validator(mode="after")
    def _check(self) -> "PoolerConfig":
        if self.logit_bias is not None and self.logit_mean is not None:
            raise ConfigError("logit_bias is the older name of logit_mean; give one of them")
        if self.logit_scale is not None and self.logit_sigma is not None:
            raise ConfigError("logit_scale is 1 / logit_sigma; give one of them")
        if self.pooling_type != "STEP" and not (self.step_tag_id is None and self.returned_token_ids is None):
            raise ConfigError("step_tag_id and returned_token_ids belong to pooling_type='STEP'")
        if self.logit_sigma == 0 or self.logit_scale == 0:
            raise ConfigError("logit_sigma and logit_scale must not be 0")
        return self

    @property
    def mean(self) -> float:
        """What is subtracted from the logits."""
        return next((v for v in (self.logit_mean, self.logit_bias) if v is not None), 0.0)

    @property
    def sigma(self) -> float | None:
        """What the logits are divided by; None: nobody says."""
        return self.logit_sigma if self.logit_scale is None else 1.0 / self.logit_scale

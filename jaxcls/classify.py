"""Prompts -> the scores of all classes, or raw pooled data."""

from collections.abc import Sequence
from typing import Any, Literal, get_args

from jaxcls.engine.call import Call, PromptParams
from jaxcls.engine.request import Finished, Task
from jaxcls.engine.setup import Model
from jaxcls.errors import ConfigError
from jaxcls.outputs import ClassificationOutput, PoolingOutput, classification_output
from jaxcls.pooling_params import PoolingParams

PoolingTask = Literal["classify", "token_classify", "embed", "token_embed"]


def classify_call(
    model: Model,
    pooling: PoolingParams | Sequence[PoolingParams] | None = None,
    tokenization: dict[str, Any] | None = None,
) -> Call[ClassificationOutput]:
    """An item is a prompt, see `LLM.classify`."""
    labels, exclusive = model.checkpoint.labels, model.checkpoint.activation.name == "softmax"

    def output(_: Any, rows: Sequence[Finished]) -> ClassificationOutput:
        return classification_output(rows[0].probs, rows[0].logits, labels, exclusive=exclusive)

    return Call("classify", output, params=PromptParams(pooling, tokenization))


def encode_call(
    model: Model,
    task: str | None,
    pooling: PoolingParams | Sequence[PoolingParams] | None = None,
    tokenization: dict[str, Any] | None = None,
) -> Call[PoolingOutput]:
    """An item is a prompt, see `LLM.encode`.

    Raises:
        ConfigError: no task given, or one that there is not.
    """

    def output(_: Any, rows: Sequence[Finished]) -> PoolingOutput:
        # Copies: the rows are views of a whole step's array.
        probs, logits = (model.rows(rows[0], values).copy() for values in (rows[0].probs, rows[0].logits))
        return PoolingOutput(probs, logits)

    return Call(_task(task), output, params=PromptParams(pooling, tokenization))


def _task(task: str | None) -> Task:
    match task:
        case "classify" | "token_classify" | "embed" | "token_embed":
            return task
        case None:
            raise ConfigError(
                "encode needs pooling_task: 'classify' or 'embed' (one row a prompt), 'token_classify' or "
                "'token_embed' (one row a token)"
            )
        case "score":
            raise ConfigError("the `score` task was removed; use `classify` instead")
        case "encode":
            raise ConfigError("the `encode` task was removed; use `token_embed` or `token_classify` instead")
        case _:
            raise ConfigError(f"unsupported task {task!r}; supported are {', '.join(map(repr, get_args(PoolingTask)))}")

"""Rewards: conversations, texts and answers -> raw scores, of the whole or of its steps."""

from collections.abc import Sequence
from typing import Any

from jaxcls.config.pooler import TOKEN_POOLING
from jaxcls.engine.call import Call
from jaxcls.engine.request import Outcome
from jaxcls.engine.setup import Model
from jaxcls.errors import PromptError
from jaxcls.inputs.chat import check_messages, is_conversation
from jaxcls.inputs.prompt import Prompt, prompt_list
from jaxcls.outputs import RequestOutput, RewardOutput
from jaxcls.pooling_params import PoolingParams

Conversation = list[dict[str, Any]]


def reward_call(
    model: Model,
    prompts: Any,
    responses: Sequence[str] | None,
    *,
    use_activation: bool | None,
    tokenization: dict[str, Any] | None,
) -> Call[RewardOutput]:
    """Everything that is scored, see `LLM.reward`."""
    if use_activation is None:
        use_activation = model.checkpoint.pooling_type == "STEP"
    items = conversations(prompts, responses)
    return Call(
        "token_classify" if model.checkpoint.pooling_type in TOKEN_POOLING else "classify",
        [_read(model, item) for item in items],
        lambda outcomes: [_output(model, outcome, use_activation=use_activation) for outcome in outcomes],
        PoolingParams(use_activation=use_activation),
        tokenization,
    )


def conversations(prompts: Any, responses: Sequence[str] | None) -> list[Any]:
    """What is scored: each prompt; or one prompt with each of the responses.

    Raises:
        PromptError: responses to several prompts, none, or some that are no strings.
    """
    single = is_conversation(prompts)
    if responses is None:
        return [prompts] if single else prompt_list(prompts)
    if not (single or isinstance(prompts, str)):
        raise PromptError("responses belong to one prompt: a string or a list of messages")
    if isinstance(responses, str) or not responses or not all(isinstance(r, str) for r in responses):
        raise PromptError("responses must be a list of strings, at least one")
    opening: Conversation = [{"role": "user", "content": prompts}] if isinstance(prompts, str) else prompts
    return [[*opening, {"role": "assistant", "content": response}] for response in responses]


def _prompt(model: Model, item: Any) -> Prompt:
    """A conversation is rendered, and tokenised as it is: templates hold special tokens.

    A model without a chat template was trained on pairs: it gets a question and its answer as one.
    """
    if not is_conversation(item):
        return item
    check_messages(item)
    template = model.tokenizer.chat_template
    if template is None:
        if [message["role"] for message in item] != ["user", "assistant"]:
            raise PromptError(
                "this checkpoint has no chat template: give one question and one answer, or finished text as the model "
                "was trained on"
            )
        return item[0]["content"], item[1]["content"]
    return model.tokenizer.rendered(template.render(item))


def _read(model: Model, item: Any) -> Prompt | PromptError:
    try:
        return _prompt(model, item)
    except PromptError as error:
        return error


def _output(model: Model, outcome: Outcome, *, use_activation: bool) -> RequestOutput[RewardOutput]:
    output = None
    if outcome.error is None and outcome.finished is not None:
        rows = outcome.finished.probs if use_activation else outcome.finished.logits
        output = RewardOutput(model.rows(outcome, rows).copy(), model.checkpoint.labels.names, _good_class(model))
    return RequestOutput(str(outcome.index), output, outcome.token_ids, outcome.error)


def _good_class(model: Model) -> int:
    """Which class of a step's says that it is good: the first of `returned_token_ids`, else the last of the head's.

    The second of Qwen2.5-Math-PRM's two classes, as its authors read them.
    """
    return 0 if model.checkpoint.head_rows is not None else len(model.checkpoint.labels.names) - 1

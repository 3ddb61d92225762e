"""Rewards: conversations, texts and answers -> raw scores, of the whole or of its steps."""

from collections.abc import Sequence
from typing import Any

from jaxcls.config.pooler import TOKEN_POOLING
from jaxcls.engine.call import Call, PromptParams
from jaxcls.engine.request import Finished
from jaxcls.engine.setup import Model
from jaxcls.errors import PromptError
from jaxcls.inputs.chat import check_messages, is_conversation
from jaxcls.inputs.prompt import Prompt, prompt_list
from jaxcls.outputs import RewardOutput
from jaxcls.pooling_params import PoolingParams

Conversation = list[dict[str, Any]]


def reward_call(
    model: Model, *, use_activation: bool | None = None, tokenization: dict[str, Any] | None = None
) -> Call[RewardOutput]:
    """An item is a conversation or a prompt, see `LLM.reward`."""
    checkpoint = model.checkpoint
    activate = checkpoint.pooling_type == "STEP" if use_activation is None else use_activation
    good = _good_class(model)

    def output(_: Any, rows: Sequence[Finished]) -> RewardOutput:
        data = model.rows(rows[0], rows[0].probs if activate else rows[0].logits)
        return RewardOutput(data.copy(), checkpoint.labels.names, good)

    params = PromptParams(PoolingParams(use_activation=activate), tokenization)
    task = "token_classify" if checkpoint.pooling_type in TOKEN_POOLING else "classify"
    return Call(task, output, expand=lambda item: [_prompt(model, item)], params=params)


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


def _good_class(model: Model) -> int:
    """Which class of a step's says that it is good: the first of `returned_token_ids`, else the last of the head's.

    The second of Qwen2.5-Math-PRM's two classes, as its authors read them.
    """
    return 0 if model.checkpoint.head_rows is not None else len(model.checkpoint.labels.names) - 1

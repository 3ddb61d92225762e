"""LLM: the offline interface."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Unpack

from jaxcls.config.engine import EngineOptions, engine_config
from jaxcls.engine.engine import Engine
from jaxcls.engine.pipeline import OnError, Pipeline, PromptParams
from jaxcls.engine.request import Task
from jaxcls.engine.setup import Model, load_model
from jaxcls.engine.stats import Stats
from jaxcls.errors import ConfigError
from jaxcls.inputs.prompt import Prompt, prompt_list
from jaxcls.outputs import ClassificationRequestOutput, PoolingRequestOutput
from jaxcls.pooling_params import PoolingParams

PoolingTask = Literal["classify", "token_classify"]
UseTqdm = bool | Callable[..., Any]


class LLM:
    """A classifier: any Hugging Face checkpoint that has a sequence classification head.

    Example:
        >>> from jaxcls import LLM
        >>> (out,) = LLM("demo").classify("SELECT name FROM users WHERE id = 3;")
        >>> out.outputs.label
        'SQL'
    """

    def __init__(self, model: str | Path, **options: Unpack[EngineOptions]):
        """Finds, checks and loads a checkpoint.

        Args:
            model: a local directory, a hub id, or "demo", the embedded classifier.
            **options: see `jaxcls.config.engine.EngineConfig`.

        Raises:
            ConfigError: an argument or a config.json that cannot be honoured.
            CheckpointError: files that are missing, broken or do not fit the model.
        """
        self.model: Model = load_model(engine_config(model, dict(options)))

    @property
    def stats(self) -> Stats:
        """Counters since construction."""
        return self.model.stats

    def classify(
        self,
        prompts: Prompt | Sequence[Prompt],
        *,
        pooling_params: PoolingParams | Sequence[PoolingParams] | None = None,
        use_tqdm: UseTqdm = True,
        tokenization_kwargs: dict[str, Any] | None = None,
        on_error: OnError = "raise",
    ) -> list[ClassificationRequestOutput]:
        """Scores every prompt; results in input order.

        Args:
            prompts: one prompt or many. A prompt is a string, a pair (text, text_pair), a list of token ids, or a
                dict with "prompt", "prompt_token_ids" (and "token_type_ids"), or "text" and "text_pair".
            pooling_params: for all prompts, or one each.
            use_tqdm: show a progress bar, or a function that makes one.
            tokenization_kwargs: truncate_prompt_tokens, truncation_side, truncation, max_length,
                add_special_tokens, do_lower_case.
            on_error: "raise" the first failing prompt's error with its index, or "return" it in that output's
                `error`, with `outputs` None, while all others succeed.

        Raises:
            PromptError: a prompt that cannot be classified (on_error="raise").
            ConfigError: arguments that make no sense.
        """
        pipeline = self._pipeline("classify", prompts, pooling_params, tokenization_kwargs, on_error)
        return self._collect(map(self.model.classification, pipeline), len(pipeline), use_tqdm)

    def classify_stream(
        self,
        prompts: Iterable[Prompt],
        *,
        pooling_params: PoolingParams | None = None,
        tokenization_kwargs: dict[str, Any] | None = None,
        on_error: OnError = "raise",
        use_tqdm: UseTqdm = False,
    ) -> Iterator[ClassificationRequestOutput]:
        """`classify` for inputs of any size: reads prompts as it goes, in bounded memory, results in input order."""
        params = PromptParams(pooling_params, tokenization_kwargs)
        pipeline = Pipeline(self.model, prompts, "classify", params, on_error)
        outputs = map(self.model.classification, pipeline)
        return iter(_bar(use_tqdm, outputs, None)) if use_tqdm else outputs

    def encode(
        self,
        prompts: Prompt | Sequence[Prompt],
        pooling_params: PoolingParams | Sequence[PoolingParams] | None = None,
        *,
        pooling_task: PoolingTask | None = None,
        use_tqdm: UseTqdm = True,
        tokenization_kwargs: dict[str, Any] | None = None,
        on_error: OnError = "raise",
    ) -> list[PoolingRequestOutput]:
        """Raw pooled data: [C] for "classify", [tokens, C] for "token_classify", which scores every token.

        Args and errors are those of `classify`; `pooling_task` must be given.
        """
        task = check_task(pooling_task)
        pipeline = self._pipeline(task, prompts, pooling_params, tokenization_kwargs, on_error)
        return self._collect(map(self.model.pooling, pipeline), len(pipeline), use_tqdm)

    def warmup(self, *, use_tqdm: UseTqdm = True) -> None:
        """Compiles every bucket of the checkpoint's own task now, so that no later call waits for the compiler."""
        engine = Engine(self.model.runner, self.model.ladder, Stats())
        total = len(self.model.ladder.buckets)
        warmup = engine.warmup(self.model.checkpoint.tasks[0])
        for _ in _bar(use_tqdm, warmup, total, desc="Compiling buckets", unit="bucket"):
            pass

    def _pipeline(
        self, task: Task, prompts: Any, pooling_params: Any, tokenization_kwargs: dict[str, Any] | None, on_error: str
    ) -> Pipeline:
        if isinstance(prompts, dict) and "data" in prompts:
            raise ConfigError("the 'data' field belongs to plugin models; give 'prompt' or 'prompt_token_ids'")
        return Pipeline(
            self.model, prompt_list(prompts), task, PromptParams(pooling_params, tokenization_kwargs), on_error
        )

    def _collect(self, outputs: Iterator[Any], total: int, use_tqdm: UseTqdm) -> list[Any]:
        return list(_bar(use_tqdm, outputs, total))


def check_task(task: str | None) -> Task:
    """The pooling task of `encode`.

    Raises:
        ConfigError: none given, or one that classifiers do not have.
    """
    match task:
        case "classify" | "token_classify":
            return task
        case None:
            raise ConfigError(
                "encode needs pooling_task: 'classify' (one row a prompt) or 'token_classify' (one row a token)"
            )
        case "score":
            raise ConfigError("the `score` task was removed; use `classify` instead")
        case "encode":
            raise ConfigError("the `encode` task was removed; use `token_classify` instead")
        case _:
            raise ConfigError(f"unsupported task {task!r}; supported are 'classify' and 'token_classify'")


def _bar(
    use_tqdm: UseTqdm, items: Iterable[Any], total: int | None, *, desc: str = "Processed prompts", unit: str = "prompt"
) -> Iterable[Any]:
    if not use_tqdm:
        return items
    if callable(use_tqdm):
        return use_tqdm(items, total=total, desc=desc, unit=unit)
    from tqdm import tqdm

    # Short work is over before a bar is of use.
    return tqdm(items, total=total, desc=desc, unit=unit, dynamic_ncols=True, delay=0.5)

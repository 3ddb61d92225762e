"""LLM: the offline interface."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Unpack

from jaxcls.classify import PoolingTask, classify_call, encode_call
from jaxcls.config.engine import EngineOptions, engine_config
from jaxcls.embed import embed_call, token_embed_call
from jaxcls.engine.call import Call
from jaxcls.engine.engine import Engine
from jaxcls.engine.pipeline import OnError, Pipeline
from jaxcls.engine.setup import Model, load_model
from jaxcls.engine.stats import Stats
from jaxcls.errors import ConfigError
from jaxcls.inputs.prompt import Prompt, prompt_list
from jaxcls.outputs import (
    ClassificationRequestOutput,
    EmbeddingRequestOutput,
    OutputT,
    PoolingRequestOutput,
    RequestOutput,
    RerankResult,
    RewardRequestOutput,
    ScoringRequestOutput,
    TokenClassificationRequestOutput,
    TokenEmbeddingRequestOutput,
    ZeroShotRequestOutput,
)
from jaxcls.pooling_params import PoolingParams
from jaxcls.ranking import Ranking, ScoreInput, inputs, score_pairs
from jaxcls.reward import conversations, reward_call
from jaxcls.score import ScoreOptions, score_call, score_or_error
from jaxcls.spans import Aggregation
from jaxcls.token_classify import token_classify_call
from jaxcls.zero_shot import HYPOTHESIS, zero_shot_call

UseTqdm = bool | Callable[..., Any]


class LLM:
    """A classifier: any Hugging Face checkpoint that scores texts or their tokens, or a language model made to.

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
        call = classify_call(self.model, pooling_params, tokenization_kwargs)
        return self._run(call, prompt_items(prompts), use_tqdm, on_error)

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
        call = classify_call(self.model, pooling_params, tokenization_kwargs)
        return self.stream(call, prompts, use_tqdm=use_tqdm, on_error=on_error)

    def stream(
        self, call: Call[OutputT], items: Iterable[Any], *, on_error: OnError = "raise", use_tqdm: UseTqdm = False
    ) -> Iterator[RequestOutput[OutputT]]:
        """Any call over items of any number: reads them as it goes, in bounded memory, results in input order.

        Example:
            >>> call = zero_shot_call(llm.model, ["technology", "cooking"])
            >>> for out in llm.stream(call, open("texts.txt")): ...

        Args:
            call: what `classify_call`, `embed_call`, `zero_shot_call` and the like make for this model.
            items: what the method of that name takes a list of.
            on_error: see `classify`.
            use_tqdm: see `classify`.

        Raises:
            PromptError: an item that cannot be scored (on_error="raise"), while the results are read.
            ConfigError: arguments that make no sense.
        """
        return iter(_bar(use_tqdm, Pipeline(self.model, call, items, on_error), None))

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
        """Raw pooled data: [C] for "classify", [D] for "embed"; [tokens, C] and [tokens, D] for those of every token.

        Args and errors are those of `classify`; `pooling_task` must be given.
        """
        call = encode_call(self.model, pooling_task, pooling_params, tokenization_kwargs)
        return self._run(call, prompt_items(prompts), use_tqdm, on_error)

    def embed(
        self,
        prompts: Prompt | Sequence[Prompt],
        *,
        dimensions: int | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        pooling_params: PoolingParams | Sequence[PoolingParams] | None = None,
        use_tqdm: UseTqdm = True,
        tokenization_kwargs: dict[str, Any] | None = None,
        on_error: OnError = "raise",
    ) -> list[EmbeddingRequestOutput]:
        """The embedding of every prompt, float32 [D]; results in input order.

        Args:
            prompts: one prompt or many, as for `classify`, but no pairs.
            dimensions: keep the first so many (Matryoshka); what is kept has length 1 again.
            prompt_name: which of the checkpoint's prompts is put before each text ("query", "document"); None: its
                default prompt, if it names one. Token ids are taken as they are.
            prompt: a text to put there instead.
            pooling_params: see `classify`.
            use_tqdm: see `classify`.
            tokenization_kwargs: see `classify`.
            on_error: see `classify`.

        Raises:
            PromptError: a prompt that cannot be embedded (on_error="raise").
            ConfigError: the model is no embedder, or arguments that make no sense.
        """
        before = {"prompt_name": prompt_name, "prompt": prompt}
        call = embed_call(self.model, pooling_params, tokenization_kwargs, dimensions=dimensions, **before)
        return self._run(call, prompt_items(prompts), use_tqdm, on_error)

    def token_embed(
        self,
        prompts: Prompt | Sequence[Prompt],
        *,
        is_query: bool | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        pooling_params: PoolingParams | Sequence[PoolingParams] | None = None,
        use_tqdm: UseTqdm = True,
        tokenization_kwargs: dict[str, Any] | None = None,
        on_error: OnError = "raise",
    ) -> list[TokenEmbeddingRequestOutput]:
        """The embeddings of every prompt's tokens, float32 [tokens, D]; results in input order.

        Args:
            prompts: see `embed`; of late interaction models (ColBERT) texts only.
            is_query: of late interaction models whether these are queries or documents, which get other prefixes and
                lengths; queries are filled with [MASK], documents lose the tokens of the checkpoint's skip list.
            prompt_name: see `embed`.
            prompt: see `embed`.
            pooling_params: see `classify`.
            use_tqdm: see `classify`.
            tokenization_kwargs: see `classify`.
            on_error: see `classify`.

        Raises:
            PromptError: a prompt that cannot be embedded (on_error="raise").
            ConfigError: the model is no embedder, or arguments that make no sense.
        """
        before = {"prompt_name": prompt_name, "prompt": prompt}
        call = token_embed_call(self.model, pooling_params, tokenization_kwargs, is_query=is_query, **before)
        return self._run(call, prompt_items(prompts), use_tqdm, on_error)

    def token_classify(
        self,
        texts: str | Sequence[str],
        *,
        aggregation: Aggregation = "none",
        ignore_labels: Sequence[str] = ("O",),
        use_tqdm: UseTqdm = True,
        tokenization_kwargs: dict[str, Any] | None = None,
        on_error: OnError = "raise",
    ) -> list[TokenClassificationRequestOutput]:
        """Labelled spans of every text, with their places in it; results in input order.

        Args:
            texts: one text or many.
            aggregation: "none": a span a token. "simple": neighbours of one label are one span. "first", "average",
                "max": and all tokens of a word have one label, that of its first or most certain token or of their
                average. As in transformers' pipeline.
            ignore_labels: labels that make no span.
            use_tqdm: see `classify`.
            tokenization_kwargs: see `classify`.
            on_error: see `classify`.

        Raises:
            PromptError: a text that cannot be labelled (on_error="raise").
            ConfigError: the model's head is not one for tokens.
        """
        call = token_classify_call(
            self.model, aggregation=aggregation, ignore=ignore_labels, tokenization=tokenization_kwargs
        )
        return self._run(call, prompt_list(texts), use_tqdm, on_error)

    def zero_shot(
        self,
        texts: str | Sequence[str],
        labels: Sequence[str] | str,
        *,
        hypothesis_template: str = HYPOTHESIS,
        multi_label: bool = False,
        use_tqdm: UseTqdm = True,
        on_error: OnError = "raise",
    ) -> list[ZeroShotRequestOutput]:
        """Classes of your own choice, by an NLI model: how much "This example is {label}." follows from a text.

        Args:
            texts: one text or many; one too long is cut.
            labels: what to choose from; a string holds them with commas.
            hypothesis_template: the sentence, with {} where the label goes.
            multi_label: False: scores are a softmax over the labels. True, or one label: each label's entailment
                against its contradiction, so that several may be true.
            use_tqdm: see `classify`.
            on_error: see `classify`.

        Raises:
            PromptError: a text that cannot be classified (on_error="raise").
            ConfigError: no NLI model, or labels and template that make no sense.
        """
        call = zero_shot_call(self.model, labels, template=hypothesis_template, multi_label=multi_label)
        return self._run(call, prompt_list(texts), use_tqdm, on_error)

    def reward(
        self,
        prompts: Any,
        responses: Sequence[str] | None = None,
        *,
        use_activation: bool | None = None,
        use_tqdm: UseTqdm = True,
        tokenization_kwargs: dict[str, Any] | None = None,
        on_error: OnError = "raise",
    ) -> list[RewardRequestOutput]:
        """Rewards of conversations or texts; results in input order.

        Args:
            prompts: one or many of: a conversation (a list of {"role", "content"}), which the checkpoint's chat
                template renders; or a prompt as for `classify`, which is taken as it stands.
            responses: candidate answers to one prompt; each is scored as the assistant's next message.
            use_activation: False: raw logits, True: the model's activation; None: logits, but probabilities for process
                rewards, whose classes are "good" and "bad".
            use_tqdm: see `classify`.
            tokenization_kwargs: see `classify`.
            on_error: see `classify`.

        Raises:
            PromptError: a prompt that cannot be scored (on_error="raise").
            ConfigError: arguments that make no sense.
        """
        call = reward_call(self.model, use_activation=use_activation, tokenization=tokenization_kwargs)
        return self._run(call, conversations(prompts, responses), use_tqdm, on_error)

    def score(
        self,
        data_1: ScoreInput | Sequence[ScoreInput],
        data_2: ScoreInput | Sequence[ScoreInput],
        /,
        *,
        use_tqdm: UseTqdm = True,
        on_error: OnError = "raise",
        **options: Unpack[ScoreOptions],
    ) -> list[ScoringRequestOutput]:
        """Scores of pairs, by a cross-encoder or reranker; results in input order.

        Args:
            data_1: queries: strings, or dicts with "text", or with "content" as in chats.
            data_2: documents: one, one for each query, or many for one query.
            use_tqdm: see `classify`.
            on_error: see `classify`.
            **options: see `jaxcls.score.ScoreOptions`.

        Raises:
            PromptError: a pair that cannot be scored (on_error="raise"), or numbers of texts that make no pairs.
            ConfigError: a model that scores no pairs, or arguments that do not fit it.
        """
        return self._run(score_call(self.model, **options), score_pairs(data_1, data_2), use_tqdm, on_error)

    def rerank(
        self,
        query: ScoreInput,
        documents: Sequence[ScoreInput],
        *,
        top_n: int | None = None,
        score_threshold: float | None = None,
        return_documents: bool = True,
        use_tqdm: UseTqdm = True,
        on_error: OnError = "raise",
        **options: Unpack[ScoreOptions],
    ) -> list[RerankResult]:
        """The documents that answer the query, the best first.

        Args:
            query: as for `score`.
            documents: as for `score`.
            top_n: at most so many; None: all.
            score_threshold: only those that score at least this.
            return_documents: whether results hold the documents' texts, or their positions only.
            use_tqdm: see `classify`.
            on_error: "return": documents that cannot be scored are last, with their error.
            **options: see `jaxcls.score.ScoreOptions`.

        Raises:
            PromptError: a document that cannot be scored (on_error="raise"), or no documents.
            ConfigError: a model that scores no pairs, or arguments that do not fit it.
        """
        ranking = Ranking(top_n, score_threshold, return_documents)
        texts = inputs(documents, "documents")
        outputs = self.score(query, texts, use_tqdm=use_tqdm, on_error=on_error, **options)
        return ranking.of(list(map(score_or_error, outputs)), texts)

    def warmup(self, *, use_tqdm: UseTqdm = True) -> None:
        """Compiles every bucket of the checkpoint's own task now, so that no later call waits for the compiler."""
        engine = Engine(self.model.runner, self.model.ladder, Stats())
        total = len(self.model.ladder.buckets)
        warmup = engine.warmup(self.model.checkpoint.tasks[0])
        for _ in _bar(use_tqdm, warmup, total, desc="Compiling buckets", unit="bucket"):
            pass

    def _run(
        self, call: Call[OutputT], items: Sequence[Any], use_tqdm: UseTqdm, on_error: str
    ) -> list[RequestOutput[OutputT]]:
        return list(_bar(use_tqdm, Pipeline(self.model, call, items, on_error), len(items)))


def prompt_items(prompts: Any) -> list[Any]:
    """The prompts of `classify` and `encode`.

    Raises:
        PromptError: no prompts.
        ConfigError: a plugin's.
    """
    if isinstance(prompts, dict) and "data" in prompts:
        raise ConfigError("the 'data' field belongs to plugin models; give 'prompt' or 'prompt_token_ids'")
    return prompt_list(prompts)


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

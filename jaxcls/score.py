"""Scores of pairs: how well a document answers a query, by a cross-encoder, or by the embeddings of both."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, Unpack

from jaxcls.engine.call import Call, EnginePrompt, PromptParams
from jaxcls.engine.request import Finished
from jaxcls.engine.setup import Model
from jaxcls.errors import ConfigError, PromptError
from jaxcls.inputs.score_template import read_score_template
from jaxcls.inputs.template import Field, Template
from jaxcls.inputs.tokenize_options import TextParams
from jaxcls.outputs import RequestOutput, RerankResult, ScoringOutput
from jaxcls.pooling_params import PoolingParams
from jaxcls.ranking import Pair, Ranking, ScoreInput, text_of
from jaxcls.similarity import similarity_call

# What means something where query and document are embedded each by itself.
_FOR_EMBEDDERS = {"pooling_params", "tokenization_kwargs"}


class ScoreOptions(TypedDict, total=False):
    """Keyword arguments of `LLM.score` and `LLM.rerank`.

    Attributes:
        label: of a model with several classes, the one whose score it is: its name, or its number.
        instruction: what is searched for and how, for prompts that have a place for it.
        chat_template: what pairs are put into, instead of what `LLM` has for them: Jinja, a file with Jinja, or the
            name of a built-in prompt.
        chat_template_kwargs: other variables that the template reads.
        max_tokens_per_query: the query is cut to so many tokens, before it is put into anything; 0: it is not.
        max_tokens_per_doc: the same for the document.
        pooling_params: of all pairs; `use_activation=False` gives logits.
        tokenization_kwargs: see `LLM.classify`. Truncation cuts the document, then the query, and nothing else.
    """

    label: str | int | None
    instruction: str | None
    chat_template: str | Path | None
    chat_template_kwargs: Mapping[str, Any] | None
    max_tokens_per_query: int
    max_tokens_per_doc: int
    pooling_params: PoolingParams | None
    tokenization_kwargs: dict[str, Any] | None


def score_call(model: Model, **options: Unpack[ScoreOptions]) -> Call[ScoringOutput]:
    """An item is a Pair.

    Raises:
        ConfigError: a model that scores no pairs, or options that do not fit it.
    """
    pooling = options.get("pooling_params")
    if pooling is not None and not isinstance(pooling, PoolingParams):
        raise ConfigError(f"pooling_params must be one PoolingParams, for all pairs; got {pooling!r}")
    if unknown := sorted(options.keys() - ScoreOptions.__annotations__.keys()):
        raise ConfigError(f"scores take no {', '.join(unknown)}; see jaxcls.score.ScoreOptions")
    if model.checkpoint.embedder is None:
        return _cross_encoder_call(model, options)
    # 0 is what a limit is where there is none.
    given = sorted(
        name
        for name in options.keys() - _FOR_EMBEDDERS
        if options[name] is not None and not (name.startswith("max_tokens") and options[name] == 0)
    )
    if given:
        raise ConfigError(
            f"{', '.join(given)}: this model embeds the query and the document by themselves; that is for models that "
            "read both together"
        )
    return similarity_call(model, _texts, pooling, options.get("tokenization_kwargs"))


def _cross_encoder_call(model: Model, options: ScoreOptions) -> Call[ScoringOutput]:
    model.checkpoint.check_task("classify")
    number = _class(model, options.get("label"))
    instruction = options.get("instruction")
    variables = {} if instruction is None else {"instruction": instruction}
    variables |= options.get("chat_template_kwargs") or {}
    template = _template(model, options.get("chat_template"), variables)
    texts = TextParams(template, variables, _most_tokens(options, model.checkpoint.max_len), "second_first")

    def output(_: Pair, rows: Sequence[Finished]) -> ScoringOutput:
        return ScoringOutput(float(rows[0].probs[number]), float(rows[0].logits[number]))

    params = PromptParams(options.get("pooling_params"), options.get("tokenization_kwargs"), texts)
    return Call("classify", output, lambda pair: [_texts(pair)], params)


def rerank_call(model: Model, ranking: Ranking, **options: Unpack[ScoreOptions]) -> Call[list[RerankResult]]:
    """An item is a query and its documents; it fails if one of them does.

    Raises:
        ConfigError: a model that scores no pairs, or options that do not fit it.
    """
    scores = score_call(model, **options)

    def prompts(item: tuple[ScoreInput, Sequence[ScoreInput]]) -> list[EnginePrompt]:
        query, documents = item
        return [prompt for document in documents for prompt in scores.expand((query, document))]

    def output(item: tuple[ScoreInput, Sequence[ScoreInput]], rows: Sequence[Finished]) -> list[RerankResult]:
        query, documents = item
        each = len(rows) // len(documents)
        found = [scores.reduce((query, d), rows[i * each : (i + 1) * each]).score for i, d in enumerate(documents)]
        return ranking.of(found, documents)

    return Call(scores.task, output, prompts, scores.params, scores.repeats)


def score_or_error(output: RequestOutput[ScoringOutput]) -> float | Exception:
    """What a document is ranked by."""
    if output.outputs is not None:
        return output.outputs.score
    return output.error or PromptError("there is no score")


def _texts(pair: Pair) -> tuple[str, str]:
    return text_of(pair[0]), text_of(pair[1])


def _class(model: Model, label: str | int | None) -> int:
    """Which of the model's classes the score is."""
    names = model.checkpoint.labels.names
    if label is None:
        if len(names) > 1:
            raise ConfigError(
                f"this model has {len(names)} classes ({', '.join(names)}), not one score: say which class's score it "
                f"is, with label={names[-1]!r} for example"
            )
        return 0
    if isinstance(label, str):
        return model.checkpoint.labels.index(label)
    if isinstance(label, bool) or not isinstance(label, int) or not 0 <= label < len(names):
        raise ConfigError(f"label={label!r} is no number of one of this model's {len(names)} classes")
    return label


def _template(model: Model, chosen: str | Path | None, variables: Mapping[str, Any]) -> Template | None:
    """What this call puts pairs into; None: what the model has for them, or nothing."""
    tokenizer = model.tokenizer
    if tokenizer.backend is None or tokenizer.path is None:
        raise ConfigError("scores are for texts: this LLM has no tokenizer (skip_tokenizer_init=True)")
    template = tokenizer.pair if chosen is None else read_score_template(chosen, tokenizer.backend, tokenizer.path)
    if isinstance(template, PromptError):
        raise ConfigError(template.message)
    if template is None and variables:
        raise ConfigError(
            f"{', '.join(sorted(variables))}: this model joins a query and a document as its tokenizer does, with no "
            "place for anything else; leave it out, or give a chat_template that has one"
        )
    if template is not None:
        template.check(variables)
    return template


def _most_tokens(options: ScoreOptions, max_len: int) -> dict[Field, int]:
    most: dict[Field, int] = {}
    names: tuple[tuple[Field, str], ...] = (("text", "max_tokens_per_query"), ("text_pair", "max_tokens_per_doc"))
    for field, name in names:
        value = options.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ConfigError(f"{name} must be at least 0 (0: no limit), got {value!r}")
        if value >= max_len:
            raise ConfigError(f"{name} ({value}) must be less than max_model_len ({max_len})")
        if value:
            most[field] = value
    return most

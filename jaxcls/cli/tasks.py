"""What the scoring commands do: what each reads from a row, runs, and writes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Generic

from jaxcls.errors import ConfigError
from jaxcls.outputs import (
    ClassificationOutput,
    OutputT,
    RerankResult,
    RewardOutput,
    ScoringOutput,
    TokenClassificationOutput,
    ZeroShotOutput,
)
from jaxcls.rows import MESSAGES, TEXTS, Column, Field, Keep, Results, Selection

# What runs is imported once a model is there: a complete output needs none.
if TYPE_CHECKING:
    from jaxcls.engine.call import Call
    from jaxcls.engine.setup import Model


@dataclass(frozen=True)
class Task(Generic[OutputT]):
    """What a command does with rows.

    Attributes:
        name: The command's.
        selection: What is read from a row, and the item that it makes.
        call: A loaded model -> what runs over items; raises ConfigError if the model is of another kind.
        results: A loaded model -> how outputs are written.
        options: Everything else that decides the results, as JSON values: a run continues only with the same.
    """

    name: str
    selection: Selection
    call: Callable[["Model"], "Call[OutputT]"]
    results: Callable[["Model"], Results[OutputT]]
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the results, besides the model and what is read."""
        return {"task": self.name, **self.options}


@dataclass(frozen=True)
class Choice:
    """Which scores are written: the best `top_k`, those that reach `threshold`, and the logits as well."""

    top_k: int | None = None
    threshold: float | None = None
    logits: bool = False


def classify_task(selection: Selection, choice: Choice, truncate: int | None) -> Task[ClassificationOutput]:
    """`jaxcls classify`."""

    def call(model: "Model") -> "Call[ClassificationOutput]":
        from jaxcls.classify import classify_call

        return classify_call(model, tokenization=_truncation(truncate))

    return Task(
        "classify",
        selection,
        call,
        lambda model: label_results(model.checkpoint.labels.names, choice),
        {**asdict(choice), "truncate": truncate},
    )


def label_results(labels: Sequence[str], choice: Choice) -> Results[ClassificationOutput]:
    """`label` is the winner of a single-label model if it reaches the threshold; `score` is the winner's, or the only
    score of a model with one label.
    """
    names = tuple(labels)

    def record(_: Any, scores: ClassificationOutput) -> dict[str, Any]:
        chosen = scores.labels(top_k=choice.top_k, threshold=choice.threshold)
        label = scores.label
        best = max(scores.probs) if label is not None or len(scores.probs) == 1 else None
        if best is not None and choice.threshold is not None and best < choice.threshold:
            label = None
        logits = {"logits": dict(zip(scores.names, scores.logits, strict=True))} if choice.logits else {}
        return {"label": label, "score": best, "probs": dict(chosen), **logits}

    logits = (Field("logits", "number", names),) if choice.logits else ()
    return Results((*_label_fields(names), *logits), record)


def _label_fields(labels: tuple[str, ...]) -> tuple[Field, ...]:
    return Field("label", "text"), Field("score", "probability"), Field("probs", "probability", labels)


def zero_shot_task(
    selection: Selection, labels: Sequence[str], template: str, *, multi_label: bool
) -> Task[ZeroShotOutput]:
    """`jaxcls zero-shot`.

    Raises:
        ConfigError: labels or a template that make no sense.
    """
    from jaxcls.zero_shot import candidate_labels, hypotheses, zero_shot_call

    names = candidate_labels(labels)
    hypotheses(names, template)

    def record(_: Any, output: ZeroShotOutput) -> dict[str, Any]:
        probs = dict(zip(output.labels, output.scores, strict=True))
        return {"label": output.label, "score": output.scores[0], "probs": probs}

    results = Results(_label_fields(tuple(names)), record)
    return Task(
        "zero-shot",
        selection,
        lambda model: zero_shot_call(model, names, template=template, multi_label=multi_label),
        lambda _: results,
        {"labels": names, "hypothesis_template": template, "multi_label": multi_label},
    )


def message_column(column: str, keep: Keep) -> Selection:
    """A conversation a row."""
    return Selection((Column("messages_column", column, MESSAGES),), keep)


def answer_columns(column: str, pair_column: str, keep: Keep) -> Selection:
    """A prompt and an answer to it a row."""

    def conversation(values: tuple[Any, ...]) -> list[dict[str, Any]]:
        prompt, answer = values
        return [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]

    return Selection((Column("column", column), Column("pair_column", pair_column)), keep, conversation)


def reward_task(selection: Selection, truncate: int | None) -> Task[RewardOutput]:
    """`jaxcls reward`."""

    def call(model: "Model") -> "Call[RewardOutput]":
        from jaxcls.reward import reward_call

        return reward_call(model, tokenization=_truncation(truncate))

    return Task("reward", selection, call, _reward_results, {"truncate": truncate})


def _reward_results(model: "Model") -> Results[RewardOutput]:
    """`steps` of process rewards; else `reward`, or `rewards` by name where a model gives several."""
    pooling, names = model.checkpoint.pooling_type, tuple(model.checkpoint.labels.names)
    if pooling == "STEP":
        field_ = Field("steps", "json", shown=lambda steps: ", ".join(f"{step:.3f}" for step in steps))
        return Results((field_,), lambda _, output: {"steps": output.steps})
    if pooling == "ALL":
        raise ConfigError(
            f"{model.checkpoint.name} labels tokens and rewards nothing: use `jaxcls tokens`; a process reward model "
            'needs --pooler-config \'{"pooling_type": "STEP", "step_tag_id": ...}\''
        )
    if len(names) == 1:
        return Results((Field("reward", "number"),), lambda _, output: {"reward": output.reward})
    return Results(
        (Field("rewards", "number", names),),
        lambda _, output: {"rewards": dict(zip(names, output.data.tolist(), strict=True))},
    )


def tokens_task(selection: Selection, aggregation: Any, truncate: int | None) -> Task[TokenClassificationOutput]:
    """`jaxcls tokens`."""

    def call(model: "Model") -> "Call[TokenClassificationOutput]":
        from jaxcls.token_classify import token_classify_call

        return token_classify_call(model, aggregation=aggregation, tokenization=_truncation(truncate))

    results = Results((Field("spans", "json", shown=_shown_spans),), _spans)
    return Task("tokens", selection, call, lambda _: results, {"aggregation": aggregation, "truncate": truncate})


def _spans(text: str, output: TokenClassificationOutput) -> dict[str, Any]:
    spans = [
        {"start": s.start, "end": s.end, "label": s.label, "score": s.score, "text": text[s.start : s.end]}
        for s in output.spans
    ]
    return {"spans": spans}


def _shown_spans(spans: list[dict[str, Any]]) -> str:
    return ", ".join(f"{span['text']} [{span['label']} {100 * span['score']:.1f}%]" for span in spans)


def _truncation(truncate: int | None) -> dict[str, Any] | None:
    return None if truncate is None else {"truncate_prompt_tokens": truncate}


def score_task(
    columns: tuple[str, str], keep: Keep, options: Mapping[str, Any], *, logits: bool
) -> Task[ScoringOutput]:
    """`jaxcls score`; `columns` of queries and documents, `options` of `LLM.score` and "truncate"."""

    def call(model: "Model") -> "Call[ScoringOutput]":
        from jaxcls.score import score_call

        return score_call(model, **_score_options(options))

    def record(_: Any, output: ScoringOutput) -> dict[str, Any]:
        return {"score": output.score, **({"logit": output.logit} if logits else {})}

    results = Results((Field("score", "number"), *([Field("logit", "number")] if logits else [])), record)
    selection = Selection((Column("query_column", columns[0]), Column("document_column", columns[1])), keep)
    return Task("score", selection, call, lambda _: results, {**options, "logits": logits})


def rerank_task(
    columns: tuple[str, str], keep: Keep, options: Mapping[str, Any], ranking: Mapping[str, Any]
) -> Task[list[RerankResult]]:
    """`jaxcls rerank`.

    Args:
        columns: of queries, and of lists of documents.
        keep: columns to pass on.
        options: of `LLM.score`, and "truncate".
        ranking: of `jaxcls.score.Ranking`.
    """

    def call(model: "Model") -> "Call[list[RerankResult]]":
        from jaxcls.ranking import Ranking
        from jaxcls.score import rerank_call

        return rerank_call(model, Ranking(**ranking), **_score_options(options))

    def record(_: Any, output: list[RerankResult]) -> dict[str, Any]:
        return {"results": _ranks(output)}

    results = Results((Field("results", "json", shown=_shown_ranking),), record)
    selection = Selection((Column("query_column", columns[0]), Column("documents_column", columns[1], TEXTS)), keep)
    return Task("rerank", selection, call, lambda _: results, {**options, **ranking})


def _score_options(options: Mapping[str, Any]) -> Any:
    given = {name: value for name, value in options.items() if name != "truncate"}
    return {**given, "tokenization_kwargs": _truncation(options.get("truncate"))}


def _ranks(results: list[RerankResult]) -> list[dict[str, Any]]:
    ranks: list[dict[str, Any]] = []
    for result in results:
        document = {} if result.document is None else {"document": result.document}
        ranks.append({"index": result.index, "score": result.score, **document})
    return ranks


def _shown_ranking(results: list[dict[str, Any]]) -> str:
    return "\n".join(f"{rank['score']:8.4f}  {rank.get('document', rank['index'])}" for rank in results)

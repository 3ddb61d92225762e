"""Zero-shot classification: an NLI model says whether "This example is {label}." follows from a text."""

from collections.abc import Sequence

import numpy as np

from jaxcls.config.labels import Labels
from jaxcls.engine.call import Call, PromptParams
from jaxcls.engine.request import Finished
from jaxcls.engine.setup import Model
from jaxcls.errors import ConfigError
from jaxcls.outputs import ZeroShotOutput

HYPOTHESIS = "This example is {}."
# A text too long is cut, never its label.
_TRUNCATION = {"truncation": "only_first"}


def zero_shot_call(
    model: Model, labels: Sequence[str] | str, *, template: str = HYPOTHESIS, multi_label: bool = False
) -> Call[ZeroShotOutput]:
    """An item is a text, which meets every label; see `LLM.zero_shot`."""
    model.checkpoint.check_task("classify")
    names, classes = candidate_labels(labels), nli_classes(model.checkpoint.labels)
    sentences = hypotheses(names, template)
    alone = multi_label or len(names) == 1

    def output(_: str, rows: Sequence[Finished]) -> ZeroShotOutput:
        logits = np.stack([row.logits for row in rows]).astype(np.float64)
        scores = _scores(logits, classes, multi_label=alone)
        order = np.argsort(-scores, kind="stable")
        return ZeroShotOutput([names[i] for i in order], scores[order].tolist())

    return Call(
        "classify",
        output,
        expand=lambda text: [(text, sentence) for sentence in sentences],
        params=PromptParams(tokenization=_TRUNCATION),
    )


def candidate_labels(labels: Sequence[str] | str) -> list[str]:
    """The labels to choose from; a string holds them with commas, as in transformers.

    Raises:
        ConfigError: none, an empty one, or one twice.
    """
    listed = labels.split(",") if isinstance(labels, str) else list(labels)
    if not all(isinstance(label, str) for label in listed):
        raise ConfigError(f"labels must be strings, got {labels!r}")
    names = [label.strip() for label in listed]
    if not names or not all(names) or len(set(names)) < len(names):
        raise ConfigError(f"labels must be different words or phrases, at least one, got {labels!r}")
    return names


def hypotheses(labels: Sequence[str], template: str) -> list[str]:
    """A sentence a label.

    Raises:
        ConfigError: the template has no place for a label.
    """
    try:
        sentences = [template.format(label) for label in labels]
    except (IndexError, KeyError, ValueError) as error:
        raise ConfigError(
            f"hypothesis_template {template!r} must have one {{}} where the label goes ({error})"
        ) from None
    if template in sentences or len(set(sentences)) < len(sentences):
        raise ConfigError(f"hypothesis_template {template!r} has no {{}} where the label goes")
    return sentences


def nli_classes(labels: Labels) -> tuple[int, int]:
    """Positions of entailment and of contradiction, by transformers' rule: the class whose name begins with "entail".

    Raises:
        ConfigError: this is no NLI model.
    """
    found = [i for i, name in enumerate(labels.names) if name.lower().startswith("entail")]
    if len(found) != 1 or len(labels.names) < 2:
        raise ConfigError(
            f"zero_shot needs an NLI model, with a class called 'entailment'; this one has {', '.join(labels.names)}. "
            "If one of them is entailment, say so: hf_overrides={'id2label': {...}}"
        )
    named = [i for i, name in enumerate(labels.names) if name.lower().startswith(("contradict", "not_entail"))]
    entailment = found[0]
    # Where no name says it, the first class, or the last if entailment is the first.
    contradiction = named[0] if len(named) == 1 else (len(labels.names) - 1 if entailment == 0 else 0)
    return entailment, contradiction


def _scores(logits: np.ndarray, classes: tuple[int, int], *, multi_label: bool) -> np.ndarray:
    """A softmax over the labels' entailment, or of each label's entailment against its contradiction."""
    entailment, contradiction = classes
    if multi_label:
        return 1 / (1 + np.exp(logits[:, contradiction] - logits[:, entailment]))
    weights = np.exp(logits[:, entailment] - logits[:, entailment].max())
    return weights / weights.sum()

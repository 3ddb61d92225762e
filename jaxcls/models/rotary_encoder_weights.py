"""Tensor names of the rotary encoders' checkpoints."""

from collections.abc import Iterator, Mapping, Sequence

from jaxcls.models.encoder_config import EncoderConfig
from jaxcls.models.rotary_encoder_config import RotaryEncoderConfig
from weights.rules import Rule, RuleTable

# A checkpoint module, or the rows START to STOP of one that fuses several: (module, START, STOP).
Part = str | tuple[str, int, int]


def split(source: str, names: Sequence[str], size: int) -> dict[str, Part]:
    """Our modules `names`, which the checkpoint fuses in this order, `size` rows each."""
    return {name: (source, i * size, (i + 1) * size) for i, name in enumerate(names)}


def fused_qkv(source: str, cfg: RotaryEncoderConfig | EncoderConfig) -> dict[str, Part]:
    """The three projections of multi-head attention in one module."""
    return split(source, ("attn.q", "attn.k", "attn.v"), cfg.num_heads * cfg.head_dim)


def rules_of(modules: Mapping[str, Part], *, absent: Mapping[str, tuple[int, ...]] | None = None) -> Iterator[Rule]:
    """Rules for weight and bias of our modules; those of parameters that a model does not have are not used.

    Args:
        modules: our module -> the checkpoint's, both with `{layer}` where there is one in each layer.
        absent: layers in which the checkpoint lacks one of our modules.
    """
    for target, part in modules.items():
        source, *rows = (part,) if isinstance(part, str) else part
        transform = ":".join(["rows", *map(str, rows)]) if rows else "identity"
        for leaf in ("weight", "bias"):
            layers = (absent or {}).get(target, ())
            yield Rule(f"{target}.{leaf}", f"{source}.{leaf}", transform, absent=layers)


def in_layers(prefix: str, modules: Mapping[str, Part]) -> dict[str, Part]:
    """Modules of a layer, by their names within it, for `rules_of`; `prefix` is what the checkpoint calls the layer."""

    def within(part: Part) -> Part:
        return prefix + part if isinstance(part, str) else (prefix + part[0], *part[1:])

    return {f"layers.{{layer}}.{target}": within(part) for target, part in modules.items()}


def bert_like_weights(
    prefix: str,
    *,
    norm: str,
    layer: str,
    modules: Mapping[str, Part],
    head: Mapping[str, str],
    renames: tuple[tuple[str, str], ...] = (),
) -> RuleTable:
    """Rules for the tensor names of members with BERT's embeddings and pooler.

    Args:
        prefix: what the base model is called in the checkpoint.
        norm: the embeddings' LayerNorm, below the prefix.
        layer: a layer's name below the prefix, "encoder.layers.{layer}.".
        modules: our modules of a layer -> the checkpoint's.
        head: our modules of the head -> the checkpoint's.
        renames: of RuleTable.
    """
    tables = {
        "embed.tokens": f"{prefix}.embeddings.word_embeddings",
        "embed.positions": f"{prefix}.embeddings.position_embeddings",
        "embed.token_types": f"{prefix}.embeddings.token_type_embeddings",
        "embed.norm": f"{prefix}.{norm}",
    }
    return RuleTable(
        rules=tuple(rules_of({**tables, **in_layers(f"{prefix}.{layer}", modules), **head})),
        # Buffers, and heads of pretraining that the classifier does not use.
        ignore=(f"{prefix}.embeddings.*_ids", f"{prefix}.pooler.*", "*.inv_freq", "lm_head.*", "cls.*"),
        renames=renames,
    )

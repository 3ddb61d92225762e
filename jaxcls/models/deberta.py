"""DeBERTa, versions 1, 2 and 3, for sequences (first token -> pooler -> classifier) and for tokens (classifier)."""

from jaxcls.models.architecture import Architecture
from jaxcls.models.deberta_config import DebertaConfig, config_v1, config_v1_tokens, config_v2, config_v2_tokens
from jaxcls.models.deberta_encoder import DebertaClassifier
from weights.rules import Rule, RuleTable


def weights_v1(cfg: DebertaConfig) -> RuleTable:
    """Version 1: each head's q, k and v are neighbours in one matrix, and k has no bias."""
    own, ours = "deberta.encoder.layer.{layer}.attention.self.", "layers.{layer}.attn."
    heads, width = cfg.num_heads, cfg.head_dim
    parts = [f"group_rows:{heads}:{part * width}:{(part + 1) * width}" for part in range(3)]
    attention = (
        *(Rule(f"{ours}{x}.weight", f"{own}in_proj.weight", part) for x, part in zip("qkv", parts, strict=True)),
        *(Rule(f"{ours}{x}.bias", f"{own}{x}_bias") for x in "qv"),
        *_linear({f"{own}pos_proj": f"{ours}pos_k", f"{own}pos_q_proj": f"{ours}pos_q"}),
    )
    return _weights(attention)


def weights_v2(cfg: DebertaConfig) -> RuleTable:
    """Versions 2 and 3: one matrix for each."""
    del cfg
    names = {"query": "q", "key": "k", "value": "v", "pos_query": "pos_q", "pos_key": "pos_k"}
    own, ours = "deberta.encoder.layer.{layer}.attention.self.", "layers.{layer}.attn."
    return _weights(_linear({f"{own}{theirs}_proj": f"{ours}{name}" for theirs, name in names.items()}))


def _linear(modules: dict[str, str]) -> tuple[Rule, ...]:
    return tuple(
        Rule(f"{target}.{leaf}", f"{source}.{leaf}")
        for source, target in modules.items()
        for leaf in ("weight", "bias")
    )


def _weights(attention: tuple[Rule, ...]) -> RuleTable:
    """The names that all versions share."""
    embed, encoder = "deberta.embeddings.", "deberta.encoder."
    hf, ours = f"{encoder}layer.{{layer}}.", "layers.{layer}."
    modules = {
        f"{embed}LayerNorm": "embed.norm",
        f"{encoder}LayerNorm": "relative.norm",
        f"{encoder}conv.LayerNorm": "conv.norm",
        f"{hf}attention.output.dense": f"{ours}attn.o",
        f"{hf}attention.output.LayerNorm": f"{ours}attn_norm",
        f"{hf}intermediate.dense": f"{ours}mlp.up",
        f"{hf}output.dense": f"{ours}mlp.down",
        f"{hf}output.LayerNorm": f"{ours}mlp_norm",
        "pooler.dense": "head.dense",
        "classifier": "head.score",
    }
    tables = {"word": "tokens", "position": "positions", "token_type": "token_types"}
    return RuleTable(
        rules=(
            *(Rule(f"embed.{ours_}.weight", f"{embed}{theirs}_embeddings.weight") for theirs, ours_ in tables.items()),
            Rule("embed.projection.weight", f"{embed}embed_proj.weight"),
            Rule("relative.weight", f"{encoder}rel_embeddings.weight"),
            Rule("conv.conv.linear.weight", f"{encoder}conv.conv.weight", "flatten"),
            Rule("conv.conv.linear.bias", f"{encoder}conv.conv.bias"),
            *_linear(modules),
            *attention,
        ),
        # Pretraining heads; and what files have although the config switches it off, which transformers leaves out too.
        ignore=(
            *("cls.*", "lm_head.*", "lm_predictions.*", "mask_predictions.*", "deberta.embeddings.position_ids"),
            *("deberta.embeddings.position_embeddings.*", f"{encoder}rel_embeddings.*", f"{encoder}LayerNorm.*"),
        ),
        renames=(
            (r"LayerNorm\.gamma$", "LayerNorm.weight"),
            (r"LayerNorm\.beta$", "LayerNorm.bias"),
            (r"^(embeddings|encoder)\.", r"deberta.\1."),
        ),
    )


def _any_length(cfg: DebertaConfig) -> bool:
    """Without absolute positions, a distance of any length has its row."""
    return not cfg.num_positions


V1 = Architecture(
    names=("DebertaForSequenceClassification",),
    summary="DeBERTa; NLI models and classifiers",
    config=config_v1,
    build=DebertaClassifier,
    weights=weights_v1,
    pooling="CLS",
    example="microsoft/deberta-base-mnli",
    any_length=_any_length,
)

V1_TOKENS = Architecture(
    names=("DebertaForTokenClassification",),
    summary="DeBERTa; personal data and named entities",
    config=config_v1_tokens,
    build=DebertaClassifier,
    weights=weights_v1,
    pooling="ALL",
    example="lakshyakh93/deberta_finetuned_pii",
    any_length=_any_length,
)

V2 = Architecture(
    names=("DebertaV2ForSequenceClassification",),
    summary="DeBERTa v2 and v3; guards, NLI models, rerankers and reward models",
    config=config_v2,
    build=DebertaClassifier,
    weights=weights_v2,
    pooling="CLS",
    example="MoritzLaurer/DeBERTa-v3-base-mnli-fever-anli",
    any_length=_any_length,
)

V2_TOKENS = Architecture(
    names=("DebertaV2ForTokenClassification",),
    summary="DeBERTa v2 and v3; personal data and named entities",
    config=config_v2_tokens,
    build=DebertaClassifier,
    weights=weights_v2,
    pooling="ALL",
    example="iiiorg/piiranha-v1-detect-personal-information",
    any_length=_any_length,
)

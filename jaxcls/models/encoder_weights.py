"""Tensor names of the encoder family's checkpoints."""

from collections.abc import Mapping

from weights.rules import Rule, RuleTable

# Names within a block, as BERT's code has them -> ours.
BERT_BLOCK = {
    "attention.self.query": "attn.q",
    "attention.self.key": "attn.k",
    "attention.self.value": "attn.v",
    "attention.output.dense": "attn.o",
    "attention.output.LayerNorm": "attn_norm",
    "intermediate.dense": "mlp.up",
    "output.dense": "mlp.down",
    "output.LayerNorm": "mlp_norm",
}


def encoder_weights(
    prefix: str,
    modules: Mapping[str, str],
    *,
    blocks: str = "encoder.layer.{layer}.",
    block: Mapping[str, str] = BERT_BLOCK,
    ignore: tuple[str, ...] = ("lm_head.*", "cls.*"),
) -> RuleTable:
    """The family's rules.

    Args:
        prefix: what the base model is called in the checkpoint ("bert", "roberta").
        modules: checkpoint module -> our module, for the head and what else there is beside tables and blocks.
        blocks: where the blocks are below the prefix.
        block: checkpoint module -> our module within a block.
        ignore: patterns of the heads of pretraining.
    """
    embed = f"{prefix}.embeddings."
    all_modules = {
        embed + "LayerNorm": "embed.norm",
        **{f"{prefix}.{blocks}{theirs}": f"layers.{{layer}}.{ours}" for theirs, ours in block.items()},
        **modules,
    }
    tables = {"word": "tokens", "position": "positions", "token_type": "token_types", "task_type": "task_types"}
    return RuleTable(
        rules=(
            *(Rule(f"embed.{ours}.weight", f"{embed}{theirs}_embeddings.weight") for theirs, ours in tables.items()),
            *(
                Rule(f"{target}.{leaf}", f"{source}.{leaf}")
                for source, target in all_modules.items()
                for leaf in ("weight", "bias")
            ),
        ),
        # Files often keep the pretraining pooler beside a head that does not use it.
        ignore=(f"{embed}position_ids", f"{embed}token_type_ids", f"{prefix}.pooler.*", *ignore),
        renames=(
            # TensorFlow-era names of LayerNorm's parameters.
            (r"LayerNorm\.gamma$", "LayerNorm.weight"),
            (r"LayerNorm\.beta$", "LayerNorm.bias"),
            (r"^(embeddings|embeddings_project|encoder|pooler|transformer)\.", rf"{prefix}.\1."),
        ),
    )

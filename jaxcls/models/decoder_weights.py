"""Tensor names of the decoder family's checkpoints."""

from collections.abc import Mapping

from jaxcls.models.decoder_config import DecoderConfig
from weights.rules import Rule, RuleTable

# Names of a layer's matrices and norms in the checkpoint, and here.
LINEAR_NAMES = {
    **{f"self_attn.{x}_proj": f"attn.{x}" for x in "qkvo"},
    **{f"mlp.{x}_proj": f"mlp.{x}" for x in ("gate", "up", "down")},
}
NORM_NAMES = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "mlp_norm",
    "self_attn.q_norm": "attn.q_norm",
    "self_attn.k_norm": "attn.k_norm",
}
POST_NORM_NAMES = {
    **NORM_NAMES,
    "post_attention_layernorm": "attn_post_norm",
    "pre_feedforward_layernorm": "mlp_norm",
    "post_feedforward_layernorm": "mlp_post_norm",
}
Parts = Mapping[str, Mapping[str, str]]
"""Matrices that hold several: name in the checkpoint -> name here -> transform."""


def decoder_weights(
    cfg: DecoderConfig,
    *,
    linear: Mapping[str, str] = LINEAR_NAMES,
    fused: Parts | None = None,
    norms: Mapping[str, str] | None = None,
    embed: str = "embed_tokens",
    head: Mapping[str, str] | None = None,
) -> RuleTable:
    """Rules for the tensor names that Llama, Mistral, Qwen2, Qwen3, and Gemma checkpoints share.

    Rules of parameters that a model does not have (biases, q/k norms) are not used; such a tensor is then unexpected.

    Args:
        cfg: of the model.
        linear: a layer's matrices that are stored as they are.
        fused: a layer's matrices that are stored together.
        norms: a layer's norms; None: the usual names.
        embed: the embeddings.
        head: layers of the head, with their prefix; None: one called `score`.
    """
    norms = norms or (POST_NORM_NAMES if cfg.post_norms else NORM_NAMES)
    head = head or {"score": "head.score"}
    hf, ours = "model.layers.{layer}.", "layers.{layer}."
    layers = {f"{hf}{source}": f"{ours}{target}" for source, target in linear.items()}
    weights = {
        f"model.{embed}": "embed.tokens",
        **layers,
        **{f"{hf}{source}": f"{ours}{target}" for source, target in norms.items()},
        "model.norm": "final_norm",
        **head,
    }
    last = next(source for source, target in head.items() if target == "head.score")
    dense = {source: target for source, target in head.items() if source != last}
    return RuleTable(
        rules=(
            *(Rule(f"{target}.weight", f"{source}.weight") for source, target in weights.items()),
            *(Rule(f"{target}.bias", f"{source}.bias") for source, target in {**layers, **dense}.items()),
            *(
                Rule(f"{ours}{target}.{kind}", f"{hf}{source}.{kind}", transform)
                for source, parts in (fused or {}).items()
                for target, transform in parts.items()
                for kind in ("weight", "bias")
            ),
            # transformers' heads of sequences have no bias, other trainers' sometimes do.
            Rule("head.score.bias", f"{last}.bias", default="zeros"),
        ),
        ignore=("lm_head.weight", "*.rotary_emb.inv_freq"),
        # Base-model checkpoints omit the prefix that the classifier's file has.
        renames=((rf"^({embed}|layers|norm)\.", r"model.\1."),),
    )

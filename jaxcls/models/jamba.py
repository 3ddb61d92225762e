"""JambaForSequenceClassification: Mamba mixers, a few attention layers without positions, experts in some MLPs."""

import math

from jaxcls.config.hf import HfView
from jaxcls.layers.mamba import MambaConfig
from jaxcls.layers.moe import MixtureConfig
from jaxcls.models.architecture import Architecture
from jaxcls.models.experts import expert_rules
from jaxcls.models.hybrid import HybridClassifier, HybridConfig
from weights.rules import Rule, RuleTable


def _periodic(hf: HfView, name: str, period: int, offset: int, num_layers: int) -> tuple[bool, ...]:
    """Every `name`_period-th layer from `name`_offset on; arguments are the config class's defaults."""
    period, offset = hf.int(f"{name}_period", period), hf.int(f"{name}_offset", offset)
    if not 0 <= offset < period:
        raise hf.error(f"{name}_offset", offset, f"it must be less than {name}_period = {period}")
    return tuple(layer % period == offset for layer in range(num_layers))


def _dt_rank(hf: HfView, dim: int) -> int:
    if hf.raw("mamba_dt_rank", "auto") in ("auto", None):
        return math.ceil(dim / 16)
    return hf.int("mamba_dt_rank", 0)


def config(hf: HfView) -> HybridConfig:
    """Reads config.json; defaults are transformers' JambaConfig."""
    # Which of several equal implementations runs; the loss and outputs of training; what generation computes.
    hf.ignore("use_mamba_kernels", "use_mambapy", "use_associative_scan", "output_router_logits")
    hf.ignore("router_aux_loss_coef", "num_logits_to_keep", "calc_logits_for_entire_prompt")
    # Whether the head has a bias, which its tensors say as well.
    hf.ignore("score_bias")
    hf.expect("sliding_window", None)
    hf.expect("mamba_inner_layernorms", True)
    dim, num_layers, eps = hf.int("hidden_size", 4096), hf.int("num_hidden_layers", 32), hf.float("rms_norm_eps", 1e-6)
    num_heads, mlp_dim = hf.int("num_attention_heads", 32), hf.int("intermediate_size", 14336)
    if dim % num_heads:
        raise hf.error("num_attention_heads", num_heads, f"it does not divide hidden_size = {dim}")
    mixture = MixtureConfig(hf.int("num_experts", 16), hf.int("num_experts_per_tok", 2), mlp_dim)
    sparse = _periodic(hf, "expert_layer", 2, 1, num_layers)
    if mixture.num_experts > 1 and not 1 <= mixture.top_k <= mixture.num_experts:
        raise hf.error("num_experts_per_tok", mixture.top_k, f"a token picks from num_experts = {mixture.num_experts}")
    return HybridConfig(
        vocab_size=hf.int("vocab_size", 65536),
        embed_dim=dim,
        mlp_dim=mlp_dim,
        num_heads=num_heads,
        num_kv_heads=hf.optional_int("num_key_value_heads", 8) or num_heads,
        # n_ctx is the name that it had before the architecture came to transformers.
        max_len=hf.int("max_position_embeddings", hf.int("n_ctx", 262144)),
        num_labels=hf.num_labels,
        pad_token_id=hf.optional_int("pad_token_id", 0),
        activation=hf.activation("hidden_act", "silu"),
        norm_eps=eps,
        mamba=MambaConfig(
            inner_dim=hf.int("mamba_expand", 2) * dim,
            state_dim=hf.int("mamba_d_state", 16),
            conv_width=hf.int("mamba_d_conv", 4),
            dt_rank=_dt_rank(hf, dim),
            conv_bias=hf.bool("mamba_conv_bias", True),
            proj_bias=hf.bool("mamba_proj_bias", False),
            norm_eps=eps,
        ),
        mixture=mixture,
        attends=_periodic(hf, "attn_layer", 8, 4, num_layers),
        sparse=tuple(layer and mixture.num_experts > 1 for layer in sparse),
    )


def weights(cfg: HybridConfig) -> RuleTable:
    """Tensor names of JambaForSequenceClassification."""
    hf, ours = "model.layers.{layer}.", "layers.{layer}."
    modules = {
        "input_layernorm": "attn_norm",
        "pre_ff_layernorm": "mlp_norm",
        **{f"self_attn.{x}_proj": f"attn.{x}" for x in "qkvo"},
        **{f"mamba.{x}_layernorm": f"mamba.{x}_norm" for x in ("dt", "b", "c")},
        **{f"feed_forward.{x}_proj": f"mlp.{x}" for x in ("gate", "up", "down")},
        "feed_forward.router": "mlp.router",
        "mamba.x_proj": "mamba.select",
    }
    biased = {"in_proj": "proj_in", "out_proj": "proj_out", "dt_proj": "dt"}
    return RuleTable(
        rules=(
            Rule("embed.tokens.weight", "model.embed_tokens.weight"),
            *(Rule(f"{ours}{target}.weight", f"{hf}{source}.weight") for source, target in modules.items()),
            *(
                Rule(f"{ours}mamba.{target}.{leaf}", f"{hf}mamba.{source}.{leaf}")
                for source, target in biased.items()
                for leaf in ("weight", "bias")
            ),
            Rule(f"{ours}mamba.conv.weight", f"{hf}mamba.conv1d.weight", "flatten"),
            Rule(f"{ours}mamba.conv.bias", f"{hf}mamba.conv1d.bias"),
            Rule(f"{ours}mamba.log_decay", f"{hf}mamba.A_log"),
            Rule(f"{ours}mamba.skip", f"{hf}mamba.D"),
            *expert_rules(f"{hf}feed_forward.experts", f"{ours}mlp.experts", cfg.mixture.num_experts),
            Rule("final_norm.weight", "model.final_layernorm.weight"),
            Rule("head.score.weight", "score.weight"),
            # transformers' head has no bias, other trainers' sometimes does.
            Rule("head.score.bias", "score.bias", default="zeros"),
        ),
        ignore=("lm_head.weight",),
        renames=((r"^(embed_tokens|layers|final_layernorm)\.", r"model.\1."),),
    )


ARCHITECTURE = Architecture(
    names=("JambaForSequenceClassification",),
    summary="Jamba; reward models of Mamba and attention layers with experts",
    config=config,
    build=HybridClassifier,
    weights=weights,
    pooling="LAST",
    example="ai21labs/Jamba-tiny-reward-dev",
    raw=True,
    stackable=False,
)

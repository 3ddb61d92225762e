"""GPT2ForSequenceClassification and GPT2ForTokenClassification: pre-norm blocks with absolute positions."""

from jaxcls.config.hf import HfView
from jaxcls.models.architecture import Architecture
from jaxcls.models.gpt2_decoder import GPT2Classifier, GPT2Config
from weights.rules import Rule, RuleTable

_OTHER_NAMES = {
    "hidden_size": "n_embd",
    "max_position_embeddings": "n_positions",
    "num_attention_heads": "n_head",
    "num_hidden_layers": "n_layer",
}


def config(hf: HfView) -> GPT2Config:
    """Reads config.json; defaults are transformers' GPT2Config."""
    hf.rename(_OTHER_NAMES)
    # Scores are float32 in any case.
    hf.ignore("reorder_and_upcast_attn")
    # The head of GPT2DoubleHeadsModel; the older name of n_positions; dropout.
    hf.ignore("summary_activation", "summary_proj_to_labels", "summary_type", "summary_use_proj", "n_ctx")
    hf.ignore("attn_pdrop", "hidden_dropout")
    # Written by the conversion of the first checkpoints.
    hf.ignore("n_special", "predict_special_tokens")
    num_heads, embed_dim = hf.int("n_head", 12), hf.int("n_embd", 768)
    if embed_dim % num_heads:
        raise hf.error("n_head", num_heads, f"it does not divide n_embd = {embed_dim}")
    return GPT2Config(
        vocab_size=hf.int("vocab_size", 50257),
        embed_dim=embed_dim,
        mlp_dim=hf.optional_int("n_inner", None) or 4 * embed_dim,
        num_layers=hf.int("n_layer", 12),
        num_heads=num_heads,
        max_len=hf.int("n_positions", 1024),
        num_labels=hf.num_labels,
        pad_token_id=hf.optional_int("pad_token_id", None),
        activation=hf.activation("activation_function", "gelu_new"),
        norm_eps=hf.float("layer_norm_epsilon", 1e-5),
        scale=(embed_dim // num_heads) ** -0.5 if hf.bool("scale_attn_weights", True) else 1.0,
        scale_by_layer=hf.bool("scale_attn_by_inverse_layer_idx", False),
    )


def weights(cfg: GPT2Config) -> RuleTable:
    """Tensor names of both classifiers. Matrices are stored [in, out], and q, k and v as one."""
    hf, ours, width = "transformer.h.{layer}.", "layers.{layer}.", cfg.embed_dim
    parts = {f"{ours}attn.{x}": f"rows:{i * width}:{(i + 1) * width}" for i, x in enumerate("qkv")}
    linear = {"attn.c_proj": "attn.o", "mlp.c_fc": "mlp.up", "mlp.c_proj": "mlp.down"}
    norms = {f"{hf}ln_1": f"{ours}attn_norm", f"{hf}ln_2": f"{ours}mlp_norm", "transformer.ln_f": "final_norm"}
    return RuleTable(
        rules=(
            Rule("embed.tokens.weight", "transformer.wte.weight"),
            Rule("embed.positions.weight", "transformer.wpe.weight"),
            *(Rule(f"{x}.weight", f"{hf}attn.c_attn.weight", f"transpose|{part}") for x, part in parts.items()),
            *(Rule(f"{x}.bias", f"{hf}attn.c_attn.bias", part) for x, part in parts.items()),
            *(Rule(f"{ours}{target}.weight", f"{hf}{source}.weight", "transpose") for source, target in linear.items()),
            *(Rule(f"{ours}{target}.bias", f"{hf}{source}.bias") for source, target in linear.items()),
            *(
                Rule(f"{target}.{leaf}", f"{source}.{leaf}")
                for source, target in norms.items()
                for leaf in ("weight", "bias")
            ),
            Rule("head.score.weight", "score.weight"),
            # transformers' head of sequences has no bias, that of tokens has one.
            Rule("head.score.bias", "score.bias", default="zeros"),
        ),
        # The causal mask, as a buffer.
        ignore=("lm_head.weight", "*.attn.bias", "*.attn.masked_bias"),
        renames=((r"^(wte|wpe|h|ln_f)\.", r"transformer.\1."), (r"^classifier\.", "score.")),
    )


SEQUENCES = Architecture(
    names=("GPT2ForSequenceClassification",),
    summary="GPT-2; classifiers and reward models",
    config=config,
    build=GPT2Classifier,
    weights=weights,
    pooling="LAST",
    example="microsoft/DialogRPT-updown",
)

TOKENS = Architecture(
    names=("GPT2ForTokenClassification",),
    summary="GPT-2; classifiers of tokens",
    config=config,
    build=GPT2Classifier,
    weights=weights,
    pooling="ALL",
    example="openai-community/gpt2",
)

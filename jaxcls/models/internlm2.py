"""InternLM2ForRewardModel: Llama under other names, with q, k and v fused group by group."""

from jaxcls.config.hf import HfView
from jaxcls.models.architecture import Architecture
from jaxcls.models.decoder import DecoderClassifier
from jaxcls.models.decoder_config import DecoderConfig, DecoderDefaults, decoder_config
from jaxcls.models.decoder_weights import decoder_weights
from weights.rules import RuleTable

_DEFAULTS = DecoderDefaults(
    vocab_size=103168,
    hidden_size=4096,
    intermediate_size=11008,
    num_hidden_layers=32,
    num_attention_heads=32,
    max_position_embeddings=2048,
)


def config(hf: HfView) -> DecoderConfig:
    """Reads config.json; defaults are those of the author's InternLM2Config.

    The score is that of the last token, whatever it is. As in the author's code, that is the token `reward_token_id`,
    which is put at the end of every text that does not end in it.
    """
    # A way of slicing the products for tensor parallel training; the result is the same.
    hf.ignore("pretraining_tp")
    hf.set_num_labels(1)
    bias, score = hf.bool("bias", True), hf.optional_int("reward_token_id", None)
    return decoder_config(hf, _DEFAULTS, qkv_bias=bias, out_bias=bias, pad_token_id=None, score_token_id=score)


def weights(cfg: DecoderConfig) -> RuleTable:
    """Tensor names of the author's code. `wqkv` holds, for each key head, its query heads, the key and the value."""
    groups, width = cfg.num_kv_heads, cfg.head_dim
    queries = cfg.num_heads // groups * width
    return decoder_weights(
        cfg,
        linear={
            "attention.wo": "attn.o",
            "feed_forward.w1": "mlp.gate",
            "feed_forward.w3": "mlp.up",
            "feed_forward.w2": "mlp.down",
        },
        fused={
            "attention.wqkv": {
                "attn.q": f"group_rows:{groups}:0:{queries}",
                "attn.k": f"group_rows:{groups}:{queries}:{queries + width}",
                "attn.v": f"group_rows:{groups}:{queries + width}:{queries + 2 * width}",
            }
        },
        norms={"attention_norm": "attn_norm", "ffn_norm": "mlp_norm"},
        embed="tok_embeddings",
        head={"v_head": "head.score"},
    )


ARCHITECTURE = Architecture(
    names=("InternLM2ForRewardModel",),
    summary="InternLM2; reward models",
    config=config,
    build=DecoderClassifier,
    weights=weights,
    pooling="LAST",
    example="internlm/internlm2-1_8b-reward",
    raw=True,
    score_token_id=lambda cfg: cfg.score_token_id,
)

"""MPNet: RoBERTa without token types, and a bias of the scores by distance; <s> -> dense, tanh -> out_proj."""

import dataclasses

from jaxcls.config.hf import HfView
from jaxcls.layers.head import DENSE, LINEAR
from jaxcls.models.architecture import Architecture
from jaxcls.models.encoder import EncoderClassifier
from jaxcls.models.encoder_config import EncoderConfig, EncoderDefaults, encoder_config, of_tokens
from jaxcls.models.encoder_weights import BERT_BLOCK, encoder_weights
from weights.rules import Rule, RuleTable

# Constants of transformers' code, which no key of config.json changes.
_PADDING_ID, _BUCKETS = 1, 32

_OTHER_NAMES = {
    "attention.attn.q": "attn.q",
    "attention.attn.k": "attn.k",
    "attention.attn.v": "attn.v",
    "attention.attn.o": "attn.o",
    "attention.LayerNorm": "attn_norm",
}
_BLOCK = {theirs: ours for theirs, ours in BERT_BLOCK.items() if not theirs.startswith("attention.")} | _OTHER_NAMES


def config(hf: HfView) -> EncoderConfig:
    """Reads config.json; defaults are transformers' MPNetConfig."""
    # The size of a table of which 32 rows are used, whatever it is.
    hf.expect("relative_attention_num_buckets", _BUCKETS)
    defaults = EncoderDefaults(vocab_size=30527, pad_token_id=_PADDING_ID)
    cfg = encoder_config(hf, defaults, head=DENSE, token_types=False)
    return dataclasses.replace(
        cfg,
        position_padding_id=_PADDING_ID,
        max_len=cfg.num_positions - _PADDING_ID - 1,
        num_distance_buckets=_BUCKETS,
        plain_attention=False,
    )


def weights(cfg: EncoderConfig) -> RuleTable:
    """Tensor names of MPNetForSequenceClassification and MPNetForTokenClassification."""
    dense = {"classifier.dense": "head.dense", "classifier.out_proj": "head.score"}
    head = {"classifier": "head.score"} if cfg.head == LINEAR else dense
    table = encoder_weights("mpnet", head, block=_BLOCK)
    bias = Rule("distance_bias.buckets.weight", "mpnet.encoder.relative_attention_bias.weight")
    return dataclasses.replace(table, rules=(*table.rules, bias))


ARCHITECTURE = Architecture(
    names=("MPNetForSequenceClassification",),
    summary="MPNet; classifiers and rerankers",
    config=config,
    build=EncoderClassifier,
    weights=weights,
    pooling="CLS",
    example="microsoft/mpnet-base",
)

TOKENS = Architecture(
    names=("MPNetForTokenClassification",),
    summary="MPNet; labels of tokens",
    config=of_tokens(config),
    build=EncoderClassifier,
    weights=weights,
    pooling="ALL",
    example="microsoft/mpnet-base",
)

"""ALBERT: BERT with narrow embedding tables, and layers that share their parameters by groups."""

import dataclasses

from jaxcls.config.hf import HfView
from jaxcls.layers.head import POOLER
from jaxcls.models.architecture import Architecture
from jaxcls.models.encoder import EncoderClassifier
from jaxcls.models.encoder_config import EncoderConfig, EncoderDefaults, encoder_config, of_tokens
from jaxcls.models.encoder_weights import encoder_weights
from weights.rules import RuleTable

_DEFAULTS = EncoderDefaults(
    vocab_size=30000, hidden_size=4096, num_attention_heads=64, intermediate_size=16384, hidden_act="gelu_new"
)
_BLOCK = {
    "attention.query": "attn.q",
    "attention.key": "attn.k",
    "attention.value": "attn.v",
    "attention.dense": "attn.o",
    "attention.LayerNorm": "attn_norm",
    "ffn": "mlp.up",
    "ffn_output": "mlp.down",
    "full_layer_layer_norm": "mlp_norm",
}


def config(hf: HfView) -> EncoderConfig:
    """Reads config.json; defaults are transformers' AlbertConfig."""
    hf.ignore("classifier_dropout_prob")
    # Of the original code; nothing reads them.
    hf.ignore("down_scale_factor", "gap_size", "layers_to_keep", "net_structure_type", "num_memory_blocks")
    cfg = encoder_config(hf, _DEFAULTS, head=POOLER)
    groups = hf.int("num_hidden_groups", 1)
    if not 1 <= groups <= cfg.num_layers:
        raise hf.error("num_hidden_groups", groups, f"num_hidden_layers = {cfg.num_layers} cannot use so many")
    return dataclasses.replace(
        cfg,
        table_dim=hf.int("embedding_size", 128),
        num_groups=groups,
        group_layers=hf.int("inner_group_num", 1),
    )


def weights(cfg: EncoderConfig) -> RuleTable:
    """Tensor names of AlbertForSequenceClassification and AlbertForTokenClassification."""
    table = encoder_weights(
        "albert",
        {
            "albert.encoder.embedding_hidden_mapping_in": "embed.project",
            "albert.pooler": "head.dense",
            "classifier": "head.score",
        },
        blocks="encoder.albert_layer_groups.{layer}.albert_layers.0.",
        block=_BLOCK,
        ignore=("predictions.*", "sop_classifier.*"),
    )
    # Layer i of group g is our layer g * group_layers + i. The last come first, so that no name is changed twice.
    inner, groups = cfg.group_layers, cfg.num_groups or 1
    numbers = tuple(
        (rf"layer_groups\.{n // inner}\.albert_layers\.{n % inner}\.", f"layer_groups.{n}.albert_layers.0.")
        for n in reversed(range(groups * inner))
    )
    return dataclasses.replace(table, renames=(*table.renames, *numbers))


ARCHITECTURE = Architecture(
    names=("AlbertForSequenceClassification",),
    summary="ALBERT; small text classifiers",
    config=config,
    build=EncoderClassifier,
    weights=weights,
    pooling="CLS",
    example="textattack/albert-base-v2-SST-2",
)

TOKENS = Architecture(
    names=("AlbertForTokenClassification",),
    summary="ALBERT; labels of tokens",
    config=of_tokens(config),
    build=EncoderClassifier,
    weights=weights,
    pooling="ALL",
    example="albert/albert-base-v2",
)

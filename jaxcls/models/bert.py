"""BERT: CLS token -> pooler (dense, tanh) -> classifier; or a classifier of every token."""

from jaxcls.config.hf import HfView
from jaxcls.layers.head import POOLER
from jaxcls.models.architecture import Architecture
from jaxcls.models.encoder import EncoderClassifier
from jaxcls.models.encoder_config import EncoderConfig, EncoderDefaults, encoder_config, of_tokens
from jaxcls.models.encoder_weights import encoder_weights
from weights.rules import RuleTable


def config(hf: HfView) -> EncoderConfig:
    """Reads config.json; defaults are transformers' BertConfig."""
    # Written by the original TensorFlow conversion; the pooler they describe is not the one that exists.
    hf.ignore("directionality", "pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers")
    hf.ignore("pooler_size_per_head", "pooler_type")
    return encoder_config(hf, EncoderDefaults(), head=POOLER)


def weights(cfg: EncoderConfig) -> RuleTable:
    """Tensor names of BertForSequenceClassification and BertForTokenClassification."""
    del cfg
    return encoder_weights("bert", {"bert.pooler.dense": "head.dense", "classifier": "head.score"})


ARCHITECTURE = Architecture(
    names=("BertForSequenceClassification",),
    summary="BERT; most cross-encoders and text classifiers",
    config=config,
    build=EncoderClassifier,
    weights=weights,
    pooling="CLS",
    example="cross-encoder/ms-marco-MiniLM-L-6-v2",
)

TOKENS = Architecture(
    names=("BertForTokenClassification",),
    summary="BERT; named entities and other labels of tokens",
    config=of_tokens(config),
    build=EncoderClassifier,
    weights=weights,
    pooling="ALL",
    example="dslim/bert-base-NER",
)

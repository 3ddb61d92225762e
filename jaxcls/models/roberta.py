"""RoBERTa, XLM-RoBERTa and CamemBERT: <s> -> dense, tanh -> out_proj; or a classifier of every token.

The three are the same network; they differ in tokenizer and size only.
"""

from jaxcls.config.hf import HfView
from jaxcls.layers.head import DENSE, LINEAR
from jaxcls.models.architecture import Architecture
from jaxcls.models.encoder import EncoderClassifier, encoder_weights
from jaxcls.models.encoder_config import EncoderConfig, EncoderDefaults, encoder_config, of_tokens
from weights.rules import RuleTable


def config(hf: HfView) -> EncoderConfig:
    """Reads config.json; defaults are transformers' RobertaConfig, XLMRobertaConfig and CamembertConfig."""
    vocab_size = 30522 if hf.raw("model_type", None) in ("xlm-roberta", "camembert") else 50265
    return encoder_config(hf, EncoderDefaults(vocab_size, pad_token_id=1), head=DENSE, roberta_positions=True)


def weights(cfg: EncoderConfig) -> RuleTable:
    """Tensor names of RobertaForSequenceClassification and RobertaForTokenClassification."""
    if cfg.head == LINEAR:
        return encoder_weights("roberta", {"classifier": "head.score"})
    return encoder_weights("roberta", {"classifier.dense": "head.dense", "classifier.out_proj": "head.score"})


ARCHITECTURE = Architecture(
    names=(
        "CamembertForSequenceClassification",
        "RobertaForSequenceClassification",
        "XLMRobertaForSequenceClassification",
    ),
    summary="RoBERTa, XLM-RoBERTa and CamemBERT; classifiers and rerankers",
    config=config,
    build=EncoderClassifier,
    weights=weights,
    pooling="CLS",
    example="BAAI/bge-reranker-v2-m3",
)

TOKENS = Architecture(
    names=("CamembertForTokenClassification", "RobertaForTokenClassification", "XLMRobertaForTokenClassification"),
    summary="RoBERTa, XLM-RoBERTa and CamemBERT; named entities and other labels of tokens",
    config=of_tokens(config),
    build=EncoderClassifier,
    weights=weights,
    pooling="ALL",
    example="Jean-Baptiste/camembert-ner",
)

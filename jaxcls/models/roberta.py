"""RobertaForSequenceClassification and XLMRobertaForSequenceClassification: <s> -> dense, tanh -> out_proj.

The two are the same network; they differ in tokenizer and size only.
"""

from jaxcls.config.hf import HfView
from jaxcls.layers.head import DENSE
from jaxcls.models.architecture import Architecture
from jaxcls.models.encoder import EncoderClassifier, encoder_weights
from jaxcls.models.encoder_config import EncoderConfig, encoder_config
from weights.rules import RuleTable


def config(hf: HfView) -> EncoderConfig:
    """Reads config.json; defaults are transformers' RobertaConfig and XLMRobertaConfig."""
    vocab_size = 30522 if hf.raw("model_type", None) == "xlm-roberta" else 50265
    return encoder_config(hf, head=DENSE, vocab_size=vocab_size, pad_token_id=1, roberta_positions=True)


def weights(cfg: EncoderConfig) -> RuleTable:
    """Tensor names of RobertaForSequenceClassification."""
    del cfg
    table = encoder_weights("roberta", {"classifier.dense": "head.dense", "classifier.out_proj": "head.score"})
    # Some files keep the pretraining pooler, which the classifier does not use.
    return RuleTable(table.rules, (*table.ignore, "roberta.pooler.*"), table.renames)


ARCHITECTURE = Architecture(
    names=("RobertaForSequenceClassification", "XLMRobertaForSequenceClassification"),
    summary="RoBERTa and XLM-RoBERTa; classifiers and rerankers",
    config=config,
    build=EncoderClassifier,
    weights=weights,
    pooling="CLS",
    example="BAAI/bge-reranker-v2-m3",
)

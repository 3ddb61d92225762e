"""DistilBERT: BERT without token types, under other names; CLS token -> pre_classifier, relu -> classifier."""

from jaxcls.config.hf import HfView
from jaxcls.layers.head import HeadConfig
from jaxcls.models.architecture import Architecture
from jaxcls.models.encoder import EncoderClassifier
from jaxcls.models.encoder_config import EncoderConfig, of_tokens
from jaxcls.models.encoder_weights import encoder_weights
from weights.rules import RuleTable

_BLOCK = {
    "attention.q_lin": "attn.q",
    "attention.k_lin": "attn.k",
    "attention.v_lin": "attn.v",
    "attention.out_lin": "attn.o",
    "sa_layer_norm": "attn_norm",
    "ffn.lin1": "mlp.up",
    "ffn.lin2": "mlp.down",
    "output_layer_norm": "mlp_norm",
}


def config(hf: HfView) -> EncoderConfig:
    """Reads config.json; defaults are transformers' DistilBertConfig."""
    hf.ignore("dropout", "qa_dropout", "seq_classif_dropout", "tie_weights_")
    # How the position table was initialised; it is in the file like any other.
    hf.ignore("sinusoidal_pos_embds")
    hf.expect("position_embedding_type", "absolute")
    dim, num_heads = hf.int("dim", 768), hf.int("n_heads", 12)
    if dim % num_heads:
        raise hf.error("n_heads", num_heads, f"it does not divide dim = {dim}")
    num_positions = hf.int("max_position_embeddings", 512)
    return EncoderConfig(
        vocab_size=hf.int("vocab_size", 30522),
        embed_dim=dim,
        mlp_dim=hf.int("hidden_dim", 3072),
        num_layers=hf.int("n_layers", 6),
        num_heads=num_heads,
        num_positions=num_positions,
        max_len=num_positions,
        type_vocab_size=0,
        num_labels=hf.num_labels,
        pad_token_id=hf.optional_int("pad_token_id", 0),
        activation=hf.activation("activation", "gelu"),
        norm_eps=1e-12,
        head=HeadConfig("relu"),
    )


def weights(cfg: EncoderConfig) -> RuleTable:
    """Tensor names of DistilBertForSequenceClassification and DistilBertForTokenClassification."""
    del cfg
    return encoder_weights(
        "distilbert",
        {"pre_classifier": "head.dense", "classifier": "head.score"},
        blocks="transformer.layer.{layer}.",
        block=_BLOCK,
        ignore=("vocab_transform.*", "vocab_layer_norm.*", "vocab_projector.*"),
    )


ARCHITECTURE = Architecture(
    names=("DistilBertForSequenceClassification",),
    summary="DistilBERT; small text classifiers",
    config=config,
    build=EncoderClassifier,
    weights=weights,
    pooling="CLS",
    example="distilbert/distilbert-base-uncased-finetuned-sst-2-english",
)

TOKENS = Architecture(
    names=("DistilBertForTokenClassification",),
    summary="DistilBERT; named entities and other labels of tokens",
    config=of_tokens(config),
    build=EncoderClassifier,
    weights=weights,
    pooling="ALL",
    example="dslim/distilbert-NER",
)

"""LlamaForSequenceClassification."""

from jaxcls.config.hf import HfView
from jaxcls.models.architecture import Architecture
from jaxcls.models.decoder import DecoderClassifier, decoder_weights
from jaxcls.models.decoder_config import DecoderConfig, DecoderDefaults, decoder_config

_DEFAULTS = DecoderDefaults(
    vocab_size=32000,
    hidden_size=4096,
    intermediate_size=11008,
    num_hidden_layers=32,
    num_attention_heads=32,
    max_position_embeddings=2048,
)


def config(hf: HfView) -> DecoderConfig:
    """Reads config.json; defaults are transformers' LlamaConfig."""
    # A way of slicing the products for tensor parallel training; the result is the same.
    hf.ignore("pretraining_tp")
    bias = hf.bool("attention_bias", False)
    return decoder_config(hf, _DEFAULTS, qkv_bias=bias, out_bias=bias, mlp_bias=hf.bool("mlp_bias", False))


ARCHITECTURE = Architecture(
    names=("LlamaForSequenceClassification",),
    summary="Llama 2 and 3; reward models and classifiers",
    config=config,
    build=DecoderClassifier,
    weights=decoder_weights,
    pooling="LAST",
    example="Skywork/Skywork-Reward-V2-Llama-3.2-1B",
)

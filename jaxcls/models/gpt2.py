"""GPT2ForSequenceClassification and GPT2ForTokenClassification: pre-norm blocks with absolute positions."""

import dataclasses

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jaxcls.config.hf import HfView
from jaxcls.layers.attention import Attend, Attention
from jaxcls.layers.head import ClassificationHead
from jaxcls.layers.linear import Embedding
from jaxcls.layers.mlp import MLP
from jaxcls.layers.norm import LayerNorm
from jaxcls.layers.packed import PackedBatch
from jaxcls.layers.stack import build_layers, run_layers
from jaxcls.models.architecture import Architecture
from weights.rules import Rule, RuleTable

_OTHER_NAMES = {
    "hidden_size": "n_embd",
    "max_position_embeddings": "n_positions",
    "num_attention_heads": "n_head",
    "num_hidden_layers": "n_layer",
}


@dataclasses.dataclass(frozen=True)
class GPT2Config:
    """What config.json says; `scale_by_layer`: scores of layer i, from 0, are divided by i + 1 (Mistral's GPT-2)."""

    vocab_size: int
    embed_dim: int
    mlp_dim: int
    num_layers: int
    num_heads: int
    max_len: int
    num_labels: int
    pad_token_id: int | None
    activation: str
    norm_eps: float
    scale: float
    scale_by_layer: bool
    type_vocab_size: int = 0
    absolute_positions: bool = True
    plain_attention: bool = True

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.embed_dim // self.num_heads


def config(hf: HfView) -> GPT2Config:
    """Reads config.json; defaults are transformers' GPT2Config."""
    hf.rename(_OTHER_NAMES)
    hf.expect("add_cross_attention", False)
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


@dataclasses.dataclass(frozen=True)
class DividedAttend:
    """An attention op whose scores are divided by a number."""

    attend: Attend
    divisor: int | Int[Array, ""]

    @property
    def num_tokens(self) -> Int[Array, ""]:
        """As the op's."""
        return self.attend.num_tokens

    def rows(self, x: Float[Array, "T *dims"]) -> Float[Array, "rows R *dims"]:
        """As the op's."""
        return self.attend.rows(x)

    def __call__(
        self,
        q: Float[Array, "T N H"],
        k: Float[Array, "T K H"],
        v: Float[Array, "T K H"],
        *,
        window: int | Int[Array, ""] | None,
        bias: Float[Array, "rows N R R"] | None = None,
    ) -> Float[Array, "T N H"]:
        """Divides q, which is smaller than the scores."""
        divided = (q.astype(jnp.float32) / self.divisor).astype(q.dtype)
        return self.attend(divided, k, v, window=window, bias=bias)


class GPT2Layer(nnx.Module):
    """x + attn(norm x), then x + mlp(norm x)."""

    def __init__(self, cfg: GPT2Config, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.attn_norm = LayerNorm(cfg.embed_dim, eps=cfg.norm_eps)
        self.attn = Attention(
            cfg.embed_dim,
            num_heads=cfg.num_heads,
            num_kv_heads=cfg.num_heads,
            head_dim=cfg.head_dim,
            qkv_bias=True,
            out_bias=True,
            dtype=dtype,
            rngs=rngs,
        )
        self.mlp_norm = LayerNorm(cfg.embed_dim, eps=cfg.norm_eps)
        self.mlp = MLP(cfg.embed_dim, cfg.mlp_dim, act=cfg.activation, gated=False, bias=True, dtype=dtype, rngs=rngs)

    def __call__(
        self, x: Float[Array, "T D"], attend: Attend, divisor: int | Int[Array, ""] | None
    ) -> Float[Array, "T D"]:
        """One block; `divisor` is of its scores."""
        x = x + self.attn(self.attn_norm(x), attend if divisor is None else DividedAttend(attend, divisor))
        return x + self.mlp(self.mlp_norm(x), attend.num_tokens)


class GPT2Classifier(nnx.Module):
    """Embeddings, blocks, final norm; `head` scores what the pooler picks."""

    def __init__(self, cfg: GPT2Config, rngs: nnx.Rngs, dtype: DTypeLike = jnp.float32, stacked: bool = False):
        self.cfg = cfg
        self.embed = nnx.Dict(
            tokens=Embedding(cfg.vocab_size, cfg.embed_dim, dtype=dtype, rngs=rngs),
            positions=Embedding(cfg.max_len, cfg.embed_dim, dtype=dtype, rngs=rngs),
        )
        self.layers = build_layers(
            lambda layer_rngs: GPT2Layer(cfg, dtype=dtype, rngs=layer_rngs),
            cfg.num_layers,
            stacked=stacked,
            rngs=rngs,
        )
        self.final_norm = LayerNorm(cfg.embed_dim, eps=cfg.norm_eps)
        self.head = ClassificationHead(cfg.embed_dim, cfg.num_labels, rngs=rngs)

    def __call__(self, batch: PackedBatch) -> Float[Array, "T D"]:
        """Final hidden states of every packed token."""
        x = self.embed.tokens(batch.input_ids) + self.embed.positions(batch.positions)
        attend = batch.attend(scale=self.cfg.scale, causal=True)
        numbers = range(1, self.cfg.num_layers + 1)
        divisors = tuple(number if self.cfg.scale_by_layer else None for number in numbers)
        x = run_layers(self.layers, x, lambda layer, y, divisor: layer(y, attend, divisor), divisors)
        return self.final_norm(x)


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

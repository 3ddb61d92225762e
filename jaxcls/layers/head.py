"""What is between a hidden state and a result: classification heads, projections of embeddings; always float32."""

import dataclasses

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxcls.layers.activation import activation
from jaxcls.layers.linear import Linear
from jaxcls.layers.norm import LayerNorm


@dataclasses.dataclass(frozen=True)
class HeadConfig:
    """score(x), or score(norm(act(dense(x)))), divided by the temperature.

    Attributes:
        activation: act, by its name in config.json; None: there is no dense layer before the score.
        dense_bias: whether the dense layer has a bias.
        norm_eps: of a LayerNorm after the activation; None: there is none.
        norm_bias: whether that has a bias.
        bias: whether the score has a bias.
        on_tokens: whether tokens go through the dense layer too; not if it is the pooler of sequences (BERT).
        temperature: divides the logits.
    """

    activation: str | None = None
    dense_bias: bool = True
    norm_eps: float | None = None
    norm_bias: bool = True
    bias: bool = True
    on_tokens: bool = True
    temperature: float = 1.0

    def build(self, dim: int, num_labels: int, *, rngs: nnx.Rngs) -> "ClassificationHead":
        """The head of a model whose hidden states are `dim` wide."""
        return ClassificationHead(dim, num_labels, self, rngs=rngs)


@dataclasses.dataclass(frozen=True)
class DenseConfig:
    """act(W x + b); with a residual, plus x or, where the widths differ, plus a projection of it.

    Attributes:
        in_dim: width of x.
        out_dim: width of the result.
        activation: act, by its name in config.json.
        bias: whether there is a b.
        residual: whether x is added.
    """

    in_dim: int
    out_dim: int
    activation: str = "linear"
    bias: bool = True
    residual: bool = False


@dataclasses.dataclass(frozen=True)
class ProjectionConfig:
    """An embedder's dense layers, one after the other; none: the hidden state is the embedding."""

    layers: tuple[DenseConfig, ...] = ()

    def build(self, dim: int, num_labels: int, *, rngs: nnx.Rngs) -> "Projection":
        """The layers; an embedder has no labels."""
        del dim, num_labels
        return Projection(self, rngs=rngs)


NO_PROJECTION = ProjectionConfig()
LINEAR = HeadConfig()
POOLER = HeadConfig("tanh", on_tokens=False)  # BERT
DENSE = HeadConfig("tanh")  # RoBERTa


class ClassificationHead(nnx.Module):
    """Hidden states -> logits [.., C]; see HeadConfig."""

    def __init__(self, dim: int, num_labels: int, cfg: HeadConfig = LINEAR, *, rngs: nnx.Rngs):
        self.cfg = cfg
        dense, norm = cfg.activation is not None, cfg.norm_eps
        self.dense = Linear(dim, dim, bias=cfg.dense_bias, dtype=jnp.float32, rngs=rngs) if dense else None
        self.norm = None if norm is None else LayerNorm(dim, eps=norm, bias=cfg.norm_bias)
        self.score = Linear(dim, num_labels, bias=cfg.bias, dtype=jnp.float32, rngs=rngs)

    def __call__(self, x: Float[Array, "*batch D"], *, per_token: bool = False) -> Float[Array, "*batch C"]:
        """Logits in float32; `per_token` when x are tokens rather than pooled sequences."""
        x = x.astype(jnp.float32)
        if self.dense is not None and self.cfg.activation is not None and not (per_token and not self.cfg.on_tokens):
            x = activation(self.cfg.activation)(self.dense(x))
            x = x if self.norm is None else self.norm(x)
        logits = self.score(x)
        return logits if self.cfg.temperature == 1 else logits / self.cfg.temperature


class Dense(nnx.Module):
    """One layer of a projection; see DenseConfig."""

    def __init__(self, cfg: DenseConfig, *, rngs: nnx.Rngs):
        self.cfg = cfg
        self.linear = Linear(cfg.in_dim, cfg.out_dim, bias=cfg.bias, dtype=jnp.float32, rngs=rngs)
        projected = cfg.residual and cfg.in_dim != cfg.out_dim
        self.residual = Linear(cfg.in_dim, cfg.out_dim, bias=False, dtype=jnp.float32, rngs=rngs) if projected else None

    def __call__(self, x: Float[Array, "*batch in"]) -> Float[Array, "*batch out"]:
        """Applies the layer to the last axis."""
        y = activation(self.cfg.activation)(self.linear(x))
        if not self.cfg.residual:
            return y
        return y + (x if self.residual is None else self.residual(x))


class Projection(nnx.Module):
    """Hidden states -> embeddings [.., E], not normalised; see ProjectionConfig."""

    def __init__(self, cfg: ProjectionConfig, *, rngs: nnx.Rngs):
        self.dense = nnx.List([Dense(layer, rngs=rngs) for layer in cfg.layers])

    def __call__(self, x: Float[Array, "*batch D"], *, per_token: bool = False) -> Float[Array, "*batch E"]:
        """Embeddings in float32; those of tokens go through the same layers."""
        del per_token
        x = x.astype(jnp.float32)
        for layer in self.dense:
            x = layer(x)
        return x


Head = ClassificationHead | Projection

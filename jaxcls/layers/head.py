"""Classification heads as checkpoints have them; always float32."""

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

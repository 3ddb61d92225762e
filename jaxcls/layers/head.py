"""Classification heads as checkpoints have them; always float32."""

from typing import Literal

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxcls.layers.linear import Linear

HeadKind = Literal["linear", "pooler", "dense"]


class ClassificationHead(nnx.Module):
    """Hidden states -> logits [.., C].

    * "linear": score(x), the decoders' head.
    * "pooler": score(tanh(dense(x))) where `dense` is BERT's sequence pooler: token classification leaves it out.
    * "dense": the same formula where `dense` belongs to the classifier (RoBERTa), for tokens too.
    """

    def __init__(self, dim: int, num_labels: int, *, kind: HeadKind, bias: bool, rngs: nnx.Rngs):
        self.kind = kind
        has_dense = kind != "linear"
        self.dense = Linear(dim, dim, bias=True, dtype=jnp.float32, rngs=rngs) if has_dense else None
        self.score = Linear(dim, num_labels, bias=bias, dtype=jnp.float32, rngs=rngs)

    def __call__(self, x: Float[Array, "*batch D"], *, per_token: bool = False) -> Float[Array, "*batch C"]:
        """Logits in float32; `per_token` when x are tokens rather than pooled sequences."""
        x = x.astype(jnp.float32)
        if self.dense is not None and not (per_token and self.kind == "pooler"):
            x = jnp.tanh(self.dense(x))
        return self.score(x)

"""Which tokens moved the score? Gradient times input, through the runtime's own model.

python examples/gradients.py
"""

import jax
import jax.numpy as jnp
from flax import nnx

from jaxcls import LLM
from jaxcls.engine.batch import build_batch
from jaxcls.engine.request import Request
from jaxcls.engine.scheduler import Scheduler
from jaxcls.inputs.prompt import TokensPrompt

llm = LLM("demo")
(out,) = llm.classify("SELECT name FROM users WHERE id = 3;")
assert out.outputs is not None

# One prompt as a packed batch, and the model as an nnx module.
scheduler = Scheduler(llm.model.ladder)
scheduler.add(Request(0, TokensPrompt(out.prompt_token_ids), use_activation=False))
plan = scheduler.next_step()
assert plan is not None
batch = build_batch(plan)
model = nnx.merge(llm.model.runner.graphdef, llm.model.runner.state)
best = int(jnp.argmax(jnp.array(out.outputs.logits)))


def score(table: jax.Array) -> jax.Array:
    """The best class's logit as a function of the embedding table [V, D]."""
    model.embed.tokens.weight.set_value(table)
    return llm.model.checkpoint.pooler("classify")(model(batch), batch, model.head).logits[0, best]


table = model.embed.tokens.weight.get_value()
gradient = jax.grad(score)(table)
for token_id in out.prompt_token_ids:
    token = llm.model.tokenizer.backend.id_to_token(token_id) if llm.model.tokenizer.backend else token_id
    print(f"{token!s:12} {float(gradient[token_id] @ table[token_id]):+.4f}")

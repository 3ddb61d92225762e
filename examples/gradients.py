"""Which tokens moved the score? Gradient times input, through the runtime's own model.

python examples/gradients.py
"""

import jax
import numpy as np
from flax import nnx

from jaxcls import LLM
from jaxcls.engine.batch import build_batch
from jaxcls.engine.request import Request
from jaxcls.engine.scheduler import Scheduler
from jaxcls.inputs.prompt import TokensPrompt

llm = LLM("demo")
(out,) = llm.classify("SELECT name FROM users WHERE id = 3;")
assert out.outputs is not None

# The model's static half and its parameters; a packed batch with the one prompt.
graphdef, state = llm.model.runner.graphdef, llm.model.runner.state
pooler = llm.model.checkpoint.pooler("classify")
scheduler = Scheduler(llm.model.ladder)
scheduler.add(Request(0, TokensPrompt(out.prompt_token_ids), use_activation=False))
plan = scheduler.next_step()
assert plan is not None
batch = jax.device_put(build_batch(plan))
best = int(np.argmax(out.outputs.logits))


def score(state: nnx.State) -> jax.Array:
    """The best class's logit as a function of all parameters."""
    model = nnx.merge(graphdef, state)
    return pooler(model(batch), batch, model.head).logits[0, best]


gradient = jax.grad(score)(state)["embed"]["tokens"]["weight"].get_value()
table = state["embed"]["tokens"]["weight"].get_value()
for token_id in out.prompt_token_ids:
    token = llm.model.tokenizer.backend.id_to_token(token_id) if llm.model.tokenizer.backend else token_id
    print(f"{token!s:12} {float(gradient[token_id] @ table[token_id]):+.4f}")

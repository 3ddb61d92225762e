"""The first five minutes: labels, scores, pairs, errors.

python examples/classify.py [MODEL]
"""

import sys

from jaxcls import LLM, PoolingParams

llm = LLM(sys.argv[1] if len(sys.argv) > 1 else "demo")

(out,) = llm.classify("SELECT name FROM users WHERE id = 3;")
assert out.outputs is not None
print(out.outputs.label, [f"{s.label} {s.score:.3f}" for s in out.outputs.labels(top_k=3)])

# Raw logits for one request of a batch; the other is untouched.
raw, scored = llm.classify(
    ["def f(x): return x", "fn main() {}"],
    pooling_params=[PoolingParams(use_activation=False), PoolingParams()],
)
assert raw.outputs is not None
assert scored.outputs is not None
print(max(raw.outputs.probs), sum(scored.outputs.probs))

# A prompt that fails is an error, never a score.
good, bad = llm.classify(["<p>hello</p>", "word " * 100_000], on_error="return")
print(good.error, "|", bad.error)

print(llm.stats)

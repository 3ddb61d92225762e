"""What int8 weights save, and what they change.

python examples/quantize.py
"""

from jaxcls import LLM
from jaxcls.info import describe

TEXTS = [
    "SELECT name FROM users WHERE age > 30 ORDER BY name;",
    'fn main() { println!("hello"); }',
    "def area(r):\n    return 3.14159 * r ** 2",
    "<ul><li><a href='/about'>About</a></li></ul>",
    'for f in *.txt; do wc -l "$f"; done',
]


def main(model: str = "demo") -> None:
    """Classifies the same texts with float32 and with int8 weights."""
    for options in ({"dtype": "float32"}, {"dtype": "bfloat16"}, {"quantization": "int8"}):
        print(f"{describe(model, **options).memory_bytes / 1e6:6.2f} MB of weights with {options}")
    whole, quantised = LLM(model, dtype="float32"), LLM(model, quantization="int8")
    for text, a, b in zip(TEXTS, whole.classify(TEXTS), quantised.classify(TEXTS), strict=True):
        assert a.outputs is not None
        assert b.outputs is not None
        difference = max(abs(p - q) for p, q in zip(a.outputs.probs, b.outputs.probs, strict=True))
        print(f"{a.outputs.label:>10} {b.outputs.label:>10}  probs differ by {difference:.4f} at most  {text[:40]!r}")


if __name__ == "__main__":
    main()

"""Many concurrent callers share steps.

python examples/async_classify.py
"""

import asyncio

from jaxcls import AsyncLLM

SNIPPETS = ["def f(x):\n    return x", "<b>hi</b>", "SELECT 1;", "fn main() {}"] * 8


async def main() -> None:
    """Classifies each snippet in a call of its own."""
    async with AsyncLLM("demo") as llm:
        results = await asyncio.gather(*(llm.classify(snippet) for snippet in SNIPPETS))
        print([out.outputs.label for (out,) in results[:4] if out.outputs])
        print(f"{len(SNIPPETS)} calls in {llm.stats.steps} steps")


asyncio.run(main())

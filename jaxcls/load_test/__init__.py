"""Open-loop load on servers that answer vLLM's /classify: what `jaxcls bench serve` runs."""

from jaxcls.load_test.client import Target, find_target
from jaxcls.load_test.compare import Plan, compare
from jaxcls.load_test.errors import LoadTestError
from jaxcls.load_test.summary import summaries
from jaxcls.load_test.texts import random_texts, shuffled

__all__ = [
    "LoadTestError",
    "Plan",
    "Target",
    "compare",
    "find_target",
    "random_texts",
    "shuffled",
    "summaries",
]

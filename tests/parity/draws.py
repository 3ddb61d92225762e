"""Random configurations: combinations of flags that the declared cases toggle one at a time."""

import random
from collections.abc import Iterator

from jaxcls.config.hf import HfView
from jaxcls.registry import find_architecture
from tests.parity.cases import Case, Space, all_spaces, make_prompts, override

LONGEST = 90


def random_cases(count: int, seed: int = 0) -> Iterator[Case]:
    """`count` cases, the same for the same seed: the networks in turn."""
    rng = random.Random(seed)
    spaces = all_spaces()
    for index in range(count):
        space = spaces[index % len(spaces)]
        yield draw(space, f"random-{seed}-{index}-{space.name}", rng)


def draw(space: Space, name: str, rng: random.Random) -> Case:
    """One configuration, and prompts of up to the longest length that it takes."""
    config = dict(space.base)
    for axis in space.axes:
        config = override(config, rng.choice(axis))
    read = find_architecture(config["architectures"][0]).config(HfView(config))
    longest = min(read.max_len, LONGEST)
    lengths = (1, *(rng.randint(2, longest) for _ in range(3)), longest)
    pads, types = config.get("pad_token_id") is not None, read.type_vocab_size > 1
    return Case(name, config, make_prompts(name, config, lengths, pads=pads, types=types), space.attention)

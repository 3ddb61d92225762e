"""The attention ops that a step gives its layers: the last one attends from the scored tokens only."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcls.layers.attention import Attend
from jaxcls.layers.packed import PackedBatch, PagePool, PageTables

TOKENS, SLOTS, HEADS, DIM = 16, 4, 2, 16
LENGTHS = (5, 1, 7)  # one slot is unused, and so are three tokens
SCORED = (2, 5, 12)  # inside, alone, last


def batch() -> PackedBatch:
    """Three sequences end to end, of which one token each is scored."""
    starts = np.cumsum([0, *LENGTHS])
    used = len(LENGTHS)
    segments = np.repeat([*range(used), -1], [*LENGTHS, TOKENS - starts[-1]])
    return PackedBatch(
        input_ids=jnp.ones(TOKENS, jnp.int32),
        token_type_ids=jnp.zeros(TOKENS, jnp.int32),
        positions=jnp.zeros(TOKENS, jnp.int32),
        segment_ids=jnp.asarray(segments, jnp.int32),
        starts=jnp.asarray([*starts[:used], 0], jnp.int32),
        lengths=jnp.asarray([*LENGTHS, 0], jnp.int32),
        use_activation=jnp.ones(SLOTS, bool),
        row_groups=((1, TOKENS),),
        scored=jnp.asarray([*SCORED, 0], jnp.int32),
    )


def paged() -> PackedBatch:
    """The same; each sequence has pages of four tokens, none of them before this step."""
    ends = np.cumsum([0, *LENGTHS])
    slots = [at + offset for at, length in zip((0, 8, 12), LENGTHS, strict=True) for offset in range(length)]
    nowhere = [np.iinfo(np.int32).max] * (TOKENS - len(slots))
    tables = PageTables(
        slots=jnp.asarray([*slots, *nowhere], jnp.int32),
        pages=jnp.asarray([[0, 1], [2, 0], [3, 4], [0, 0]], jnp.int32),
        kv_lens=jnp.asarray([*LENGTHS, 0], jnp.int32),
        cu_q_lens=jnp.asarray([*ends, ends[-1]], jnp.int32),
        num_seqs=jnp.asarray([len(LENGTHS)], jnp.int32),
    )
    pool = PagePool(jnp.zeros((5, 4, 2 * HEADS, DIM)), num_layers=1)
    return dataclasses.replace(batch(), tables=tables, pool=pool)


@pytest.mark.parametrize("make", [batch, paged])
def test_the_last_layer_attends_from_the_scored_tokens(make: Callable[[], PackedBatch]) -> None:
    q, k, v = (jax.random.normal(key, (TOKENS, HEADS, DIM)) for key in jax.random.split(jax.random.key(0), 3))
    attend: Attend = make().attend(scale=0.3, causal=True)
    before, last = attend.at(attend.state), attend.at(attend.state, last=True)
    assert before.num_picked == attend.num_tokens == 13
    assert last.num_picked == 3
    everything = before(before.pick(q), k, v, window=None)
    some = last(last.pick(q), k, v, window=None)
    assert everything.shape == (TOKENS, HEADS, DIM)
    assert some.shape == (SLOTS, HEADS, DIM)
    np.testing.assert_allclose(some[:3], everything[jnp.array(SCORED)], atol=1e-6)

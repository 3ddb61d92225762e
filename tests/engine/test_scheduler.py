"""Properties of planning: nothing lost, nothing over budget, nobody starves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxcls.engine.buckets import Bucket, Ladder, make_ladder
from jaxcls.engine.request import Request, Task
from jaxcls.engine.scheduler import Scheduler, StepPlan
from jaxcls.inputs.prompt import TokensPrompt

MAX_LEN = 700


def request(index: int, length: int, *, order: int = 0, task: Task = "classify") -> Request:
    return Request(index, TokensPrompt([1] * length), True, task, order=(0, order))


def plan_all(scheduler: Scheduler) -> list[StepPlan]:
    plans = []
    while (plan := scheduler.next_step()) is not None:
        plans.append(plan)
    return plans


lengths = st.lists(st.integers(1, MAX_LEN), min_size=1, max_size=120)
ladders = st.builds(
    make_ladder, max_len=st.just(MAX_LEN), max_tokens=st.integers(16, 4096), max_seqs=st.integers(1, 300)
)


@given(ladders, lengths)
def test_every_request_runs_once_within_its_bucket(ladder: Ladder, lengths: list[int]) -> None:
    scheduler = Scheduler(ladder)
    requests = [request(i, n, task=("classify", "token_classify")[i % 5 == 0]) for i, n in enumerate(lengths)]
    for r in requests:
        scheduler.add(r)
    plans = plan_all(scheduler)
    assert sorted(r.index for plan in plans for r in plan.requests) == list(range(len(lengths)))
    for plan in plans:
        assert plan.bucket in ladder.buckets
        assert len(plan.rows) <= plan.bucket.rows
        assert len(plan.requests) <= plan.bucket.num_seqs
        assert all(sum(r.num_tokens for r in row) <= plan.bucket.row_len for row in plan.rows)
        assert {r.task for r in plan.requests} == {plan.task}


@given(ladders, st.lists(st.tuples(st.integers(1, MAX_LEN), st.integers(0, 9)), min_size=1, max_size=60))
def test_each_step_starts_with_the_request_that_is_first_in_order(ladder: Ladder, items: list[tuple[int, int]]) -> None:
    scheduler = Scheduler(ladder)
    waiting = [request(i, n, order=order) for i, (n, order) in enumerate(items)]
    for r in waiting:
        scheduler.add(r)
    while waiting:
        plan = scheduler.next_step()
        assert plan is not None
        assert min(r.order for r in waiting) == plan.requests[0].order
        waiting = [r for r in waiting if r not in plan.requests]


def test_a_short_text_does_not_wait_for_longer_ones_that_came_later() -> None:
    scheduler = Scheduler(make_ladder(max_len=64, max_tokens=64, max_seqs=16, short_row=64))
    for index, length in enumerate([5, 30, 30, 30, 5, 30, 30, 30, 5, 30]):
        scheduler.add(request(index, length, order=index))
    steps = [[r.index for r in plan.requests] for plan in plan_all(scheduler)]
    # What does not fit is passed over for what comes next and does.
    assert steps == [[0, 1, 4, 8], [2, 3], [5, 6], [7, 9]]


@given(ladders, lengths, st.data())
def test_removed_requests_never_run(ladder: Ladder, lengths: list[int], data: st.DataObject) -> None:
    scheduler = Scheduler(ladder)
    requests = [request(i, n) for i, n in enumerate(lengths)]
    for r in requests:
        scheduler.add(r)
    removed = data.draw(st.sets(st.sampled_from(requests)))
    for r in removed:
        scheduler.remove(r)
        scheduler.remove(r)  # a second time changes nothing
    assert len(scheduler) == len(requests) - len(removed)
    ran = [r for plan in plan_all(scheduler) for r in plan.requests]
    assert set(ran) == set(requests) - removed


def test_short_texts_fill_rows() -> None:
    scheduler = Scheduler(make_ladder(max_len=512, max_tokens=512, max_seqs=256))
    for i in range(1000):
        scheduler.add(request(i, 4 + i * 37 % 60))
    plans = plan_all(scheduler)
    given_tokens = sum(r.num_tokens for plan in plans for r in plan.requests)
    assert given_tokens / sum(plan.bucket.num_tokens for plan in plans) > 0.97
    assert len({plan.bucket for plan in plans[:-1]}) == 1


def test_a_lone_short_prompt_takes_the_smallest_shape() -> None:
    scheduler = Scheduler(make_ladder(max_len=512, max_tokens=512, max_seqs=256))
    scheduler.add(request(0, 5))
    plan = scheduler.next_step()
    assert plan is not None
    assert plan.bucket.num_tokens == 32


@pytest.mark.parametrize("max_len", [1, 15, 16, 77, 128, 129, 512, 514, 8192, 40960])
def test_the_ladder_is_short_and_holds_the_longest_prompt(max_len: int) -> None:
    ladder = make_ladder(max_len=max_len, max_tokens=512, max_seqs=256)
    assert ladder.row_lens[-1] >= max_len
    assert ladder.row_lens[-1] < max_len + 128
    assert len(ladder.buckets) <= 2 * len(ladder.row_lens) + 4
    assert all(b.num_seqs <= 256 for b in ladder.buckets)


def test_where_rows_do_not_matter_full_steps_have_one_shape() -> None:
    lengths = np.random.default_rng(0).integers(3, 512, 400).tolist()
    scheduler = Scheduler(make_ladder(max_len=512, max_tokens=512, max_seqs=256, short_row=512))
    for index, length in enumerate(lengths):
        scheduler.add(request(index, length))
    plans = plan_all(scheduler)
    assert {plan.bucket for plan in plans[:-1]} == {Bucket(1, 512, 64)}
    assert sum(lengths) / sum(plan.bucket.num_tokens for plan in plans) > 0.94


@pytest.mark.parametrize("short_row", [None, 512])
def test_no_mix_of_lengths_up_to_512_needs_more_than_eight_programs(short_row: int | None) -> None:
    ladder = make_ladder(max_len=512, max_tokens=512, max_seqs=256, short_row=short_row)
    assert len(ladder.buckets) <= 8

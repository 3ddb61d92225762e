"""The pages: what the allocator promises, and that a step reads only what was written for its sequence."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from jaxcls.engine.buckets import make_ladder, with_pages
from jaxcls.engine.pages import PageAllocator
from jaxcls.engine.prefix import PrefixPlanner
from jaxcls.engine.request import Request, Task
from jaxcls.engine.scheduler import Scheduler, StepPlan
from jaxcls.inputs.prompt import TokensPrompt

NUM_PAGES, PAGE_SIZE = 12, 8


class Allocation(RuleBasedStateMachine):
    """Requests that take, name, share and return pages, in any order."""

    held = Bundle("held")

    def __init__(self) -> None:
        super().__init__()
        self.allocator = PageAllocator(NUM_PAGES, PAGE_SIZE)
        self.owners = [0] * NUM_PAGES
        self.content: dict[int, bytes] = {}

    @rule(target=held, count=st.integers(0, NUM_PAGES + 2))
    def allocate(self, count: int) -> Any:
        pages = self.allocator.allocate(count)
        free = NUM_PAGES - sum(owners > 0 for owners in self.owners)
        assert (pages is None) == (count > free)
        if pages is None:
            return multiple()
        assert len(set(pages)) == count
        for page in pages:
            assert self.owners[page] == 0
            self.owners[page] = 1
            self.content.pop(page, None)
        return pages

    @rule(pages=held, name=st.integers(0, 20))
    def publish(self, pages: list[int], name: int) -> None:
        for offset, page in enumerate(pages):
            page_hash = bytes([name, offset])
            self.allocator.publish(page, page_hash)
            if page_hash not in self.content.values():
                self.content.setdefault(page, page_hash)

    @rule(target=held, name=st.integers(0, 20), count=st.integers(1, 4))
    def share(self, name: int, count: int) -> Any:
        hashes = [bytes([name, offset]) for offset in range(count)]
        pages = self.allocator.lookup(hashes)
        assert [self.content[page] for page in pages] == hashes[: len(pages)]
        self.allocator.retain(pages)
        for page in pages:
            self.owners[page] += 1
        return pages

    @rule(pages=consumes(held))
    def release(self, pages: list[int]) -> None:
        self.allocator.release(pages)
        for page in pages:
            self.owners[page] -= 1

    @rule(pages=held)
    def release_twice(self, pages: list[int]) -> None:
        nobodys = [page for page in range(NUM_PAGES) if self.owners[page] == 0]
        for page in nobodys:
            with pytest.raises(ValueError, match=f"page {page} is released, but nobody holds it"):
                self.allocator.release([page])

    @invariant()
    def nothing_is_lost(self) -> None:
        assert self.allocator.num_available == sum(owners == 0 for owners in self.owners)


Allocation.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestAllocation = Allocation.TestCase


def test_hashes_are_those_of_all_tokens_before_and_of_the_salt() -> None:
    allocator = PageAllocator(4, 8)
    tokens = list(range(24))
    hashes = allocator.hashes(tokens, None, 3)
    assert [len(page_hash) for page_hash in hashes] == [16, 16, 16]
    assert allocator.hashes([*tokens[:16], *[7] * 8], None, 3)[:2] == hashes[:2]
    assert allocator.hashes([*tokens[:16], *[7] * 8], None, 3)[2] != hashes[2]
    # The same page behind another.
    assert allocator.hashes([9, *tokens[1:]], None, 3)[1] != hashes[1]
    assert not set(allocator.hashes(tokens, "a", 3)) & {*hashes, *allocator.hashes(tokens, "b", 3)}
    # A key of its own: nobody outside the process can compute them.
    assert PageAllocator(4, 8).hashes(tokens, None, 3) != hashes


def test_the_least_recently_used_prefix_goes_first_and_its_end_before_its_beginning() -> None:
    allocator = PageAllocator(4, 8)
    for name in (b"a", b"b"):
        pages = allocator.allocate(2)
        assert pages is not None
        for offset, page in enumerate(pages):
            allocator.publish(page, name + bytes([offset]))
        allocator.release(pages)
    found = allocator.lookup([b"a\0", b"a\1"])
    allocator.retain(found)
    allocator.release(found)
    assert allocator.allocate(1) is not None
    assert len(allocator.lookup([b"a\0", b"a\1"])) == 2
    assert len(allocator.lookup([b"b\0", b"b\1"])) == 1


# Requests of a few prefixes, two salts, any length.
SPECS = st.lists(
    st.tuples(
        st.integers(0, 2), st.integers(0, 40), st.integers(1, 60), st.sampled_from([None, "salt"]), st.integers(0, 1)
    ),
    min_size=1,
    max_size=25,
)


def make_requests(planner: PrefixPlanner, specs: list[Any], task: Task) -> list[Request]:
    requests = []
    for index, (prefix, shared, own, salt, priority) in enumerate(specs):
        tokens = [100 + prefix] * shared + [1000 + index] * own
        scored = None if task == "token_classify" else len(tokens) - 1
        hashes = () if scored is None else planner.allocator.hashes(tokens, salt, scored // PAGE_SIZE)
        order = (priority, 0)
        requests.append(
            Request(
                index, TokensPrompt(tokens), True, task, order=order, pageable=True, scored=scored, page_hashes=hashes
            )
        )
    return requests


class Pool:
    """What a device would have in its slots: of each token, all tokens up to it and the salt of its request."""

    def __init__(self, salts: dict[int, str | None]):
        self.slots: dict[tuple[int, int], Any] = {}
        self.salts = salts

    def run(self, plan: StepPlan) -> None:
        """All tokens are written, then all are read."""
        written = set()
        for chunk in plan.chunks if plan.paged else ():
            for position in range(chunk.start, chunk.stop):
                slot = chunk.pages[position // PAGE_SIZE], position % PAGE_SIZE
                assert slot not in written
                written.add(slot)
                self.slots[slot] = self.of(chunk.request, position)
        for chunk in plan.chunks if plan.paged else ():
            for position in range(chunk.stop):
                slot = chunk.pages[position // PAGE_SIZE], position % PAGE_SIZE
                assert self.slots[slot] == self.of(chunk.request, position)

    def of(self, request: Request, position: int) -> Any:
        return tuple(request.tokens.token_ids[: position + 1]), self.salts[request.index]


@given(SPECS, st.integers(13, 40), st.sampled_from(["classify", "token_classify"]), st.data())
@settings(deadline=None)
def test_steps_read_what_was_written_for_their_sequences(
    specs: list[Any], num_pages: int, task: Task, data: st.DataObject
) -> None:
    # The same key each time: requests wait in the order of their pages' names.
    planner = PrefixPlanner(PageAllocator(num_pages, PAGE_SIZE, key=b"secret"), reuses=True, chunk_len=32)
    ladder = make_ladder(max_len=104, max_tokens=32, max_seqs=4)
    scheduler = Scheduler(with_pages(ladder, pages_per_seq=13, page_size=PAGE_SIZE, max_seqs=4), planner)
    requests = make_requests(planner, specs, task)
    pool = Pool({index: spec[3] for index, spec in enumerate(specs)})
    arriving, cancelled, done = list(requests), set(), []
    while arriving or len(scheduler):
        for _ in range(data.draw(st.integers(0 if len(scheduler) else 1, 4)) if arriving else 0):
            if arriving:
                scheduler.add(arriving.pop(0))
        if data.draw(st.booleans()) and len(arriving) < len(requests):
            victim = data.draw(st.sampled_from(requests[: len(requests) - len(arriving)]))
            if victim not in done:
                scheduler.remove(victim)
                cancelled.add(victim)
        plan = scheduler.next_step()
        if plan is None:
            assert not len(scheduler)
            continue
        pool.run(plan)
        done += [chunk.request for chunk in plan.chunks if chunk.is_last]
        assert sum(chunk.num_tokens for chunk in plan.chunks) <= plan.bucket.num_tokens
        assert len(plan.chunks) <= plan.bucket.num_seqs
    assert len(done) == len(set(done))
    assert set(done) >= set(requests) - cancelled
    assert planner.allocator.num_available == num_pages


def test_a_request_is_never_behind_one_of_lower_priority() -> None:
    planner = PrefixPlanner(PageAllocator(40, PAGE_SIZE), reuses=True, chunk_len=None)
    scheduler = Scheduler(
        with_pages(
            make_ladder(max_len=64, max_tokens=64, max_seqs=8), pages_per_seq=8, page_size=PAGE_SIZE, max_seqs=8
        ),
        planner,
    )
    specs = [(0, 24, 8, None, 1), (0, 24, 8, None, 1), (1, 0, 30, None, 0), (2, 24, 5, None, 0), (2, 24, 5, None, 0)]
    for request in make_requests(planner, specs, "classify"):
        scheduler.add(request)
    orders = []
    while (plan := scheduler.next_step()) is not None:
        orders.append([chunk.request.order[0] for chunk in plan.chunks])
    assert [min(step) for step in orders] == sorted(min(step) for step in orders)


def test_lost_pages_are_forgotten_and_what_was_begun_starts_anew() -> None:
    planner = PrefixPlanner(PageAllocator(20, PAGE_SIZE), reuses=True, chunk_len=32)
    ladder = with_pages(
        make_ladder(max_len=104, max_tokens=32, max_seqs=4), pages_per_seq=13, page_size=PAGE_SIZE, max_seqs=4
    )
    scheduler = Scheduler(ladder, planner)
    (request,) = make_requests(planner, [(0, 0, 80, None, 0)], "classify")
    scheduler.add(request)
    first = scheduler.next_step()
    assert first is not None
    assert (first.chunks[0].start, first.chunks[0].stop) == (0, 32)
    planner.allocator.reset(1)
    parts = []
    while (plan := scheduler.next_step()) is not None:
        parts += [(chunk.start, chunk.stop) for chunk in plan.chunks]
    assert parts == [(0, 32), (32, 64), (64, 80)]
    assert planner.allocator.num_available == 20

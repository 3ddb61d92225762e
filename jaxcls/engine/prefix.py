"""Which requests are worth pages, and where their tokens lie. No jax here."""

import dataclasses
from collections import OrderedDict

from jaxcls.engine.pages import PageAllocator, PageHash
from jaxcls.engine.request import Request

# A prefix is reused if it is at least this part of a prompt: a paged step costs a little more for each token.
LEAST_SHARED = 1 / 4
# Prefixes that are remembered without being kept: one that comes again is written, and read by the third.
MAX_REMEMBERED = 2**16


@dataclasses.dataclass(frozen=True, slots=True)
class Chunk:
    """Tokens `start` to `stop` of a request, which one step computes.

    Attributes:
        request: whose.
        start: tokens before it are in pages already.
        stop: the request is complete if this is `request.num_needed`.
        pages: of all the request's tokens; empty: the step has none.
        num_cached: tokens of the request that were not computed for it.
    """

    request: Request
    start: int
    stop: int
    pages: tuple[int, ...] = ()
    num_cached: int = 0

    @property
    def num_tokens(self) -> int:
        """How many are computed."""
        return self.stop - self.start

    @property
    def is_last(self) -> bool:
        """Whether the request is then complete."""
        return self.stop == self.request.num_needed or not self.pages


class PrefixPlanner:
    """Decides who gets pages; engines share one, as they share the pool.

    Attributes:
        allocator: the pages.
        reuses: whether prefixes are shared and kept.
        chunk_len: requests longer than this are computed in chunks; None: never.
    """

    def __init__(self, allocator: PageAllocator, *, reuses: bool, chunk_len: int | None):
        self.allocator, self.reuses, self.chunk_len = allocator, reuses, chunk_len
        self._seen: OrderedDict[PageHash, int] = OrderedDict()

    def note(self, request: Request) -> None:
        """Remembers a request's prefixes."""
        for page_hash in request.page_hashes:
            self._seen[page_hash] = self._seen.pop(page_hash, 0) + 1
        while len(self._seen) > MAX_REMEMBERED:
            self._seen.popitem(last=False)

    def is_worth_pages(self, request: Request) -> bool:
        """Whether the request is too long for one step, or shares enough of it with others, earlier or waiting."""
        if not request.pageable or self._num_pages(request) > self.allocator.num_pages:
            return False
        return self.is_chunked(request) or (
            self.reuses and self._num_shared(request) * self.allocator.page_size >= LEAST_SHARED * request.num_needed
        )

    def is_chunked(self, request: Request) -> bool:
        """Whether a step is too short for the request."""
        return self.chunk_len is not None and request.num_needed > self.chunk_len

    def begin(self, request: Request, room: int, *, may_split: bool) -> Chunk | None:
        """The first chunk of a request, at most `room` tokens; None if it does not fit, or there are too few pages."""
        allocator = self.allocator
        found = allocator.lookup(request.page_hashes) if self.reuses else []
        start = len(found) * allocator.page_size
        if request.num_needed - start > room and not (may_split and self.is_chunked(request)):
            return None
        allocator.retain(found)
        own = allocator.allocate(self._num_pages(request) - len(found))
        if own is None:
            allocator.release(found)
            return None
        return self._chunk(request, start, room, (*found, *own), start)

    def proceed(self, chunk: Chunk, room: int) -> Chunk:
        """The chunk that follows one."""
        return self._chunk(chunk.request, chunk.stop, room, chunk.pages, chunk.num_cached)

    def _chunk(self, request: Request, start: int, room: int, pages: tuple[int, ...], num_cached: int) -> Chunk:
        stop = min(request.num_needed, start + room)
        if self.reuses:
            # Only what is whole at the end of this step, and has readers.
            for index in range(start // self.allocator.page_size, stop // self.allocator.page_size):
                if index < len(request.page_hashes) and self._is_shared(request.page_hashes[index]):
                    self.allocator.publish(pages[index], request.page_hashes[index])
        return Chunk(request, start, stop, pages, num_cached)

    def _num_pages(self, request: Request) -> int:
        return -(-request.num_needed // self.allocator.page_size)

    def _num_shared(self, request: Request) -> int:
        for index, page_hash in enumerate(request.page_hashes):
            if not self._is_shared(page_hash):
                return index
        return len(request.page_hashes)

    def _is_shared(self, page_hash: PageHash) -> bool:
        return self._seen.get(page_hash, 0) > 1 or page_hash in self.allocator

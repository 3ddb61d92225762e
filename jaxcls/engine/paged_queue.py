"""Waiting requests that are worth pages, those with common prefixes side by side. No jax here."""

import bisect

from jaxcls.engine.prefix import Chunk, PrefixPlanner
from jaxcls.engine.request import Order, Request

# Of the first so many requests, those that fit fill a step.
LOOKAHEAD = 256


class PagedQueue:
    """Requests of one task by order, then by prefix.

    At most one of them is computed in part, and goes on first: so requests that are chunked never wait for each other's
    pages.
    """

    def __init__(self, planner: PrefixPlanner):
        self._planner = planner
        self._waiting: list[Request] = []
        self._begun: Chunk | None = None
        self._generation = planner.allocator.generation

    def __len__(self) -> int:
        return len(self._waiting) + (self._begun is not None)

    def add(self, request: Request) -> None:
        """Queues a request."""
        bisect.insort(self._waiting, request, key=_key)

    def discard(self, request: Request) -> None:
        """Takes a request out, if it is there; one computed in part gives its pages back."""
        if self._begun is not None and self._begun.request is request:
            self.close()
            return
        at = bisect.bisect_left(self._waiting, _key(request), key=_key)
        while at < len(self._waiting) and self._waiting[at] is not request and _key(self._waiting[at]) == _key(request):
            at += 1
        if at < len(self._waiting) and self._waiting[at] is request:
            del self._waiting[at]

    def close(self) -> None:
        """Gives back the pages of the request that is computed in part, which is forgotten."""
        if self._begun is not None and self._generation == self._planner.allocator.generation:
            self._planner.allocator.release(self._begun.pages)
        self._begun = None

    def first_order(self) -> Order:
        """Of the request that runs next; there must be one."""
        return self._waiting[0].order if self._begun is None else self._begun.request.order

    def take(self, num_tokens: int, num_seqs: int) -> list[Chunk]:
        """Chunks for one step, their pages held; those of requests that it completes may go to others after it."""
        chunks = self._proceed(num_tokens)
        room = num_tokens - sum(chunk.num_tokens for chunk in chunks)
        begun: set[Request] = set()
        for request in self._waiting[:LOOKAHEAD]:
            if not room or len(chunks) == num_seqs:
                break
            chunk = self._planner.begin(request, room, may_split=self._begun is None)
            if chunk is None:
                continue
            begun.add(request)
            chunks.append(chunk)
            room -= chunk.num_tokens
            self._begun = self._begun if chunk.is_last else chunk
        self._waiting[:LOOKAHEAD] = [request for request in self._waiting[:LOOKAHEAD] if request not in begun]
        self._generation = self._planner.allocator.generation
        for chunk in chunks:
            if chunk.is_last:
                self._planner.allocator.release(chunk.pages)
        return chunks

    def _proceed(self, room: int) -> list[Chunk]:
        """The next chunk of the request that is computed in part; what was lost begins anew."""
        begun, self._begun = self._begun, None
        if begun is None:
            return []
        if self._generation != self._planner.allocator.generation:
            self.add(begun.request)
            return []
        chunk = self._planner.proceed(begun, room)
        self._begun = None if chunk.is_last else chunk
        return [chunk]


def _key(request: Request) -> tuple[Order, tuple[bytes, ...], int, int]:
    return request.order, request.page_hashes, -request.num_tokens, request.index

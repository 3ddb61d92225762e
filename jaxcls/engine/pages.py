"""The pages of the pool: who holds them, which hold a known prefix, which go first when there are none left. No jax."""

import hashlib
import secrets
import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

PageHash = bytes


class PageAllocator:
    """Page numbers with reference counts, and an index of the prefixes that lie in them.

    A page is held (by at least one request), kept (by nobody, but indexed; the least recently used go first when pages
    are needed), or free. Pages are used in the order of steps, which a device runs one after another: what is released
    after a step was planned may be given to the next one.

    Attributes:
        num_pages: all there are.
        page_size: tokens of one.
        lock: to be held from planning a paged step until it is dispatched; engines share the pool.
        generation: counts the times that everything was lost.

    `key` is the secret of the pages' names, at most 64 bytes: a random one, unless given, so that nobody can look for
    prefixes whose names collide. Requests wait in the order of these names.
    """

    def __init__(self, num_pages: int, page_size: int, key: bytes | None = None):
        self.num_pages, self.page_size = num_pages, page_size
        self.lock = threading.Condition(threading.RLock())
        self.generation = 0
        self._key = secrets.token_bytes(32) if key is None else key
        self._clear()

    def _clear(self) -> None:
        self._free = list(range(self.num_pages - 1, -1, -1))
        self._refs = [0] * self.num_pages
        self._index: dict[PageHash, int] = {}
        self._hashes: dict[int, PageHash] = {}
        self._kept: OrderedDict[int, None] = OrderedDict()

    @property
    def num_available(self) -> int:
        """Pages that `allocate` could give."""
        return len(self._free) + len(self._kept)

    def __contains__(self, page_hash: PageHash) -> bool:
        return page_hash in self._index

    def hashes(self, token_ids: Sequence[int], salt: str | None, count: int) -> tuple[PageHash, ...]:
        """Names of a prompt's first `count` pages: blake2b, 128 bits, of the salt and all tokens up to a page's end."""
        ids = np.asarray(token_ids[: count * self.page_size], np.int32).tobytes()
        width, parent, hashes = 4 * self.page_size, b"" if salt is None else b"salt " + salt.encode(), []
        for at in range(0, count * width, width):
            digest = hashlib.blake2b(parent, digest_size=16, key=self._key)
            digest.update(b"|" + ids[at : at + width])
            parent = digest.digest()
            hashes.append(parent)
        return tuple(hashes)

    def lookup(self, hashes: Sequence[PageHash]) -> list[int]:
        """The pages of the longest prefix that is there; they are not held until `retain`."""
        found = []
        for page_hash in hashes:
            page = self._index.get(page_hash)
            if page is None:
                break
            found.append(page)
        return found

    def retain(self, pages: Sequence[int]) -> None:
        """Holds pages once more."""
        for page in pages:
            self._refs[page] += 1
            self._kept.pop(page, None)

    def allocate(self, count: int) -> list[int] | None:
        """Pages that nobody holds, now held; what was kept in them is forgotten. None: there are not so many."""
        if count > self.num_available:
            return None
        pages = []
        for _ in range(count):
            if self._free:
                page = self._free.pop()
            else:
                page, _ = self._kept.popitem(last=False)
                del self._index[self._hashes.pop(page)]
            self._refs[page] = 1
            pages.append(page)
        return pages

    def publish(self, page: int, page_hash: PageHash) -> None:
        """Says what a held page has in it from this step on. A prefix that lies in another page stays there."""
        if not self._refs[page]:
            raise ValueError(f"page {page} is published, but nobody holds it")
        if page_hash not in self._index and page not in self._hashes:
            self._index[page_hash], self._hashes[page] = page, page_hash

    def release(self, pages: Sequence[int]) -> None:
        """Gives pages back, the last first, so that of a prefix its end is forgotten before its beginning.

        Raises:
            ValueError: a page that nobody holds.
        """
        for page in reversed(pages):
            if self._refs[page] < 1:
                raise ValueError(f"page {page} is released, but nobody holds it")
            self._refs[page] -= 1
            if self._refs[page]:
                continue
            if page in self._hashes:
                self._kept[page] = None
            else:
                self._free.append(page)
        with self.lock:
            self.lock.notify_all()

    def reset(self, generation: int) -> None:
        """Everything in the pages is lost: forgets it, and who held them."""
        if generation > self.generation:
            self.generation = generation
            self._clear()

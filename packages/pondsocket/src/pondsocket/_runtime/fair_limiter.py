"""Who gets the next place: so many in all, so many of one owner, owners in turn."""

from collections import OrderedDict, deque
from collections.abc import Hashable

import anyio


class FairLimiter:
    """Limits how many calls run at once, in total and for one owner.

    Owners that wait take turns, however many calls each of them makes.

    Args:
        total: How many calls may run at once.
        each: How many of them may be of one owner.
    """

    __slots__ = ("_each", "_ready", "_running", "_total", "_used", "_waiting")

    def __init__(self, total: int, each: int) -> None:
        self._total = total
        self._each = each
        self._running = 0
        self._used: dict[Hashable, int] = {}
        self._waiting: dict[Hashable, deque[anyio.Event]] = {}
        # The waiting owners that are below their own limit, the next one first.
        self._ready: OrderedDict[Hashable, None] = OrderedDict()

    @property
    def is_full(self) -> bool:
        """Whether as many calls run as the total allows."""
        return self._running >= self._total

    async def acquire(self, owner: Hashable) -> None:
        """Wait for a place."""
        # While a place is free, no owner is ready: `release` hands out every free place.
        if not self.is_full and self._is_below(owner):
            self._take(owner)
            return
        event = anyio.Event()
        self._waiting.setdefault(owner, deque()).append(event)
        if self._is_below(owner):
            self._ready[owner] = None
        try:
            await event.wait()
        except BaseException:
            if event.is_set():  # cancelled in the same loop turn in which it got its place
                self.release(owner)
            else:
                self._forget(owner, event)
            raise

    def release(self, owner: Hashable) -> None:
        """Give a place back."""
        self._running -= 1
        self._used[owner] -= 1
        if not self._used[owner]:
            del self._used[owner]
        if owner in self._waiting:
            self._ready[owner] = None
        while self._ready and not self.is_full:
            self._hand_out()

    def _hand_out(self) -> None:
        owner, _ = self._ready.popitem(last=False)
        self._take(owner)
        queue = self._waiting[owner]
        queue.popleft().set()
        if not queue:
            del self._waiting[owner]
        elif self._is_below(owner):
            self._ready[owner] = None

    def _is_below(self, owner: Hashable) -> bool:
        return self._used.get(owner, 0) < self._each

    def _take(self, owner: Hashable) -> None:
        self._running += 1
        self._used[owner] = self._used.get(owner, 0) + 1

    def _forget(self, owner: Hashable, event: anyio.Event) -> None:
        queue = self._waiting[owner]
        queue.remove(event)
        if not queue:
            del self._waiting[owner]
            self._ready.pop(owner, None)

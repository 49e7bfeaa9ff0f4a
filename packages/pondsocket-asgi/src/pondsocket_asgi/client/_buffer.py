"""What has come and was not read yet: bounded, and read by one task at a time."""

import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Final, Generic, TypeVar

import anyio
import anyio.lowlevel

T = TypeVar("T")

DEFAULT_BUFFER: Final = 256


class Buffer(Generic[T]):
    """A queue for one reader.

    Args:
        limit: How many may wait. Twice as many, if more come although `full` was called.
        full: Called when so many wait for a reader that has begun to read, and with each that still
            comes then. None: they are dropped.
        empty: Called when a reader has read the last one after that.
        abandoned: Called when a reader stops before the end.
        gap: What a reader is given in the place of what was too much to be kept.
    """

    def __init__(
        self,
        limit: int,
        gap: T,
        *,
        full: Callable[[], None] | None = None,
        empty: Callable[[], None] | None = None,
        abandoned: Callable[[], None] | None = None,
    ) -> None:
        self.is_full: bool = False
        self._limit = limit
        self._gap = gap
        self._full = full
        self._empty = empty
        self._abandoned = abandoned
        self._items: deque[T] = deque()
        self._has_come = anyio.Event()
        self._error: Exception | None = None
        self._has_ended = False
        self._has_reader = False
        self._is_read = False

    def put(self, item: T) -> None:
        """Add one. It is kept even if it is one too many: the caller stops behind it."""
        self._items.append(item)
        self._notify()
        if len(self._items) < self._limit:
            return
        if self._is_read and self._full is not None:
            self.is_full = True
            self._full()
            if len(self._items) <= 2 * self._limit:
                return
        self._items.clear()
        self._items.append(self._gap)

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._items)

    def end(self, error: Exception | None = None) -> None:
        """Let nothing more come. A reader gets what is there, and then the error."""
        self._has_ended = True
        self._error = error
        self._notify()

    def begin_anew(self) -> None:
        """Let more come after the end."""
        self._has_ended = False
        self._error = None

    async def receive(self) -> T:
        """Return the next one.

        Raises:
            StopAsyncIteration: No more will come.
            RuntimeError: Another task is reading.
        """
        if self._has_reader:
            raise RuntimeError("Another task is reading already: one at a time.")
        self._is_read = True
        self._has_reader = True
        try:
            while not self._items:
                if self._has_ended:
                    if self._error is not None:
                        raise self._error
                    raise StopAsyncIteration
                await self._has_come.wait()
            await anyio.lowlevel.checkpoint_if_cancelled()
        finally:
            self._has_reader = False
        item = self._items.popleft()
        if self.is_full and not self._items:
            self.is_full = False
            if self._empty is not None:
                self._empty()
        return item

    def __aiter__(self) -> AsyncIterator[T]:
        """Return a reader. If the program lets go of it before the end, that is a leave."""
        return _Reader(self, self._abandoned)

    def _notify(self) -> None:
        self._has_come.set()
        self._has_come = anyio.Event()


class _Reader(AsyncIterator[T]):
    """One `async for`. A `break` drops it, which nothing else tells."""

    def __init__(self, buffer: Buffer[T], abandoned: Callable[[], None] | None) -> None:
        self._unread = buffer
        self._finalizer = weakref.finalize(self, abandoned or _nothing)
        self._finalizer.atexit = False

    async def __anext__(self) -> T:
        try:
            return await self._unread.receive()
        except Exception:
            self._finalizer.detach()  # it has ended, or it was never ours
            raise


def _nothing() -> None:
    pass

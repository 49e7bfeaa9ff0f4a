"""Ordered delivery: frames of one channel to one member, where outgoing handlers are asynchronous.

While such a handler waits, later frames of its channel must not overtake, and other channels must
not be delayed. So each member has a queue for each such channel, and one task works on it while it
is not empty.
"""

from collections.abc import Awaitable, Callable, Coroutine, Hashable
from typing import Any, Final, Protocol, TypeAlias

from .frame import Batch, Frame
from .queue import BoundedQueue
from .sink import offer_each

_MAX_FRAMES: Final = 1_024  # as many as an outbox holds by default


class PendingFrame:
    """A frame that an asynchronous outgoing handler still has to make, or withhold.

    Until then it counts as much as the original broadcast, and may be dropped as that may be.
    """

    __slots__ = ("channel", "conflate_key", "droppable", "held", "make")

    def __init__(self, make: Callable[[], Awaitable[Frame | None]], original: Frame) -> None:
        self.make: Callable[[], Awaitable[Frame | None]] = make
        # Of the original it keeps the payload twice: as JSON, and as the handler gets it.
        self.held: int = original.weigh()
        original.compact()
        self.channel: str | None = original.channel
        self.droppable: bool = original.droppable
        self.conflate_key: Hashable = original.conflate_key

    def weigh(self) -> int:
        """Return `held`."""
        return self.held

    def compact(self) -> None:
        """Do nothing: the original is compact."""


class OrderedSink(Protocol):
    """The connection to which frames are delivered in order."""

    def offer(self, frame: Frame) -> bool:
        """Accept a frame. False if it cannot."""
        ...

    def send_frame(self, frame: Frame) -> None:
        """Accept a frame, or close as a slow consumer."""
        ...

    def overflow(self) -> None:
        """Close as a slow consumer."""
        ...

    def dropped(self, frames: int) -> None:
        """Count frames that were dropped before they reached it."""
        ...

    def caught_up(self) -> None:
        """Note that no frame waits any more, after some were dropped."""
        ...

    def spawn(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a coroutine function in a task that ends with the connection."""
        ...


_Item: TypeAlias = Frame | PendingFrame


class OrderedDelivery:
    """The frames of one channel to one member, in order.

    It is bounded, and droppable frames are dropped from it, as in an outbox. The frame that is
    being made does not count against the bound.
    """

    __slots__ = ("__weakref__", "_is_running", "_queue", "_sink")

    def __init__(self, sink: OrderedSink, max_bytes: int) -> None:
        self._sink = sink
        self._queue: BoundedQueue[_Item] = BoundedQueue(_MAX_FRAMES, max_bytes, sink.dropped)
        self._is_running = False

    def wait_for_room(self, callback: Callable[[], None], size: int) -> bool:
        """Ask for room, like `Outlet.wait_for_room`."""
        return self._queue.wait_for_room(callback, size)

    def offer(self, frame: Frame) -> bool:
        """Queue a frame that is ready, or pass it on if nothing is before it."""
        if not self._is_running:
            return self._sink.offer(frame)
        return self._queue.append(frame)

    def offer_batch(self, batch: Batch) -> bool:
        """Offer several frames."""
        return offer_each(self.offer, batch)

    def overflow(self) -> None:
        """Close the connection of a slow consumer."""
        self._sink.overflow()

    def offer_pending(self, pending: PendingFrame) -> bool:
        """Queue a frame that is still to be made."""
        if not self._queue.append(pending):
            return False
        if not self._is_running:
            self._is_running = True
            self._queue.is_writing = False
            self._sink.spawn(self._work)
        return True

    async def _work(self) -> None:
        queue = self._queue
        try:
            while queue.queued:
                item = queue.take()
                frame = item if isinstance(item, Frame) else await item.make()
                if frame is not None:
                    self._sink.send_frame(frame)
                if queue.has_dropped and not queue.queued:
                    queue.has_dropped = False
                    self._sink.caught_up()
                queue.offer_room()
        finally:
            self._is_running = False

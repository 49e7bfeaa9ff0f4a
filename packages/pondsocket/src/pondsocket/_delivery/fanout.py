"""Fan-out: the only loop that sends one frame to many members."""

from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, Final, Protocol, TypeVar

from pondsocket_common import CloseCode

from .frame import Batch, Frame
from .queue import leeway, make_room

_MAX_CHAINED: Final = 1_024  # as many as an outbox holds by default
# As in an outbox: a burst that comes before the task runs does not count against the peer.
_PATIENCE: Final = 16


class Outlet(Protocol):
    """What a transport gives to a session to write to."""

    @property
    def pending(self) -> int:
        """How many frames it has accepted and not yet written."""
        ...

    def offer(self, frame: Frame) -> bool:
        """Write or queue a frame, without waiting. False if it is full or has ended.

        It is full only after it has dropped what may be dropped (`make_room`).
        """
        ...

    def offer_batch(self, batch: Batch) -> bool:
        """Write or queue all frames of a batch, in order. False if not all were accepted."""
        ...

    def wait_for_room(self, callback: Callable[[], None], size: int) -> bool:
        """Ask for room, for a caller that has much to send and must leave room for live events.

        Returns:
            False if it would be less than half full with `size` more bytes. Otherwise True: it
            calls back once, when it has written enough to ask again.
        """
        ...

    def end(
        self, code: CloseCode, reason: str, *, abort: bool, goodbye: Frame | None = None
    ) -> None:
        """Write what is queued, then `goodbye`, and close. Idempotent.

        With `abort` the queue is dropped, and `goodbye` is sent only if that needs no waiting.
        """
        ...


class Sink(Protocol):
    """What frames are offered to: a member, or a connection. Only `batching` offers to it.

    All other code calls `send`, which goes behind what waits for the sink.
    """

    def offer(self, frame: Frame) -> bool:
        """Accept a frame, without waiting. False if it cannot, so that it is a slow consumer."""
        ...

    def offer_batch(self, batch: Batch) -> bool:
        """Accept several frames. False if not all of them were accepted."""
        ...

    def overflow(self) -> None:
        """End the connection of a slow consumer."""
        ...


K = TypeVar("K", bound=Sink)


def deliver(frame: Frame, sinks: Iterable[Sink]) -> None:
    """Offer a frame to all sinks. Close those that cannot take it, without delaying others."""
    slow = [sink for sink in sinks if not sink.offer(frame)]
    # Only now: a close removes members from the roster that the loop above iterates.
    for sink in slow:
        sink.overflow()


def deliver_batches(batches: Iterable[tuple[Batch, Iterable[Sink]]]) -> None:
    """Offer each batch to its sinks. Close those that cannot take theirs."""
    slow = [sink for batch, sinks in batches for sink in sinks if not sink.offer_batch(batch)]
    # Only when all have theirs: a close sends frames to the others.
    for sink in slow:
        sink.overflow()


def deliver_copies(offer_copy: Callable[[K], bool], sinks: Sequence[K]) -> None:
    """Offer each sink a copy of its own, which `offer_copy` makes; see `deliver`.

    Args:
        sinks: Not a view: making a copy calls the application, which may end a membership.
    """
    slow = [sink for sink in sinks if not offer_copy(sink)]
    for sink in slow:
        sink.overflow()


def offer_each(offer: Callable[[Frame], bool], batch: Batch) -> bool:
    """Offer the frames of a batch one by one, until one is not accepted."""
    return all(map(offer, batch.frames))


class LateFrame:
    """A frame that an asynchronous outgoing handler still has to make, or withhold.

    Until then it has the size of the original broadcast, and may be dropped as that may be.
    """

    __slots__ = ("channel", "conflate_key", "droppable", "make", "size")

    def __init__(self, make: Callable[[], Awaitable[Frame | None]], original: Frame) -> None:
        self.make = make
        self.size = original.size
        self.channel = original.channel
        self.droppable = original.droppable
        self.conflate_key = original.conflate_key


class OrderedSink(Protocol):
    """The connection at the end of a chain."""

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


class Chain:
    """The frames of one channel to one member, in order, if outgoing handlers are asynchronous.

    While such a handler waits, later frames of its channel must not overtake, and other channels
    must not be delayed. So each member has a chain, and one task works on it while it is not empty.
    It is bounded, and droppable frames are dropped from it, as in an outbox.
    """

    __slots__ = (
        "__weakref__",
        "_bytes",
        "_excused",
        "_has_dropped",
        "_max_bytes",
        "_queue",
        "_running",
        "_sink",
        "_waiting",
    )  # fmt: skip

    def __init__(self, sink: OrderedSink, max_bytes: int) -> None:
        self._sink = sink
        self._max_bytes = max_bytes
        self._queue: deque[Frame | LateFrame] = deque()
        self._bytes = 0
        self._excused = 0  # bytes that were waiting when the present frame was begun
        self._has_dropped = False
        self._running = False
        self._waiting: list[Callable[[], None]] = []

    def wait_for_room(self, callback: Callable[[], None], size: int) -> bool:
        """Return False if there is room. Otherwise True, and call back when it is empty."""
        frames, held = len(self._queue), self._bytes
        if not frames or (2 * frames < _MAX_CHAINED and 2 * (held + size) <= self._max_bytes):
            return False
        self._waiting.append(callback)
        return True

    def offer(self, frame: Frame) -> bool:
        """Queue a frame that is ready, or pass it on if nothing is before it."""
        if not self._running:
            return self._sink.offer(frame)
        return self._append(frame)

    def offer_batch(self, batch: Batch) -> bool:
        """Offer several frames."""
        return offer_each(self.offer, batch)

    def overflow(self) -> None:
        """Close the connection of a slow consumer."""
        self._sink.overflow()

    def offer_late(self, late: LateFrame) -> bool:
        """Queue a frame that is still to be made."""
        if not self._append(late):
            return False
        if not self._running:
            self._running = True
            self._excused = self._max_bytes * _PATIENCE
            self._sink.spawn(self._work)
        return True

    def _append(self, item: Frame | LateFrame) -> bool:
        if self._queue and not self._has_room_for(item):
            return False
        self._queue.append(item)
        self._bytes += item.size
        return True

    def _has_room_for(self, item: Frame | LateFrame) -> bool:
        max_bytes = max(self._max_bytes, self._excused)
        frames = len(self._queue) + 1 - _MAX_CHAINED
        size = self._bytes + item.size - max_bytes
        if frames <= leeway(item, _MAX_CHAINED) and size <= leeway(item, max_bytes):
            return True
        freed = make_room(self._queue, item, frames, size)
        if freed.frames:
            self._bytes -= freed.bytes
            self._has_dropped = True
            self._sink.dropped(freed.frames)
        return not self._queue or (freed.frames >= frames and freed.bytes >= size)

    async def _work(self) -> None:
        try:
            while self._queue:
                item = self._queue.popleft()
                self._bytes -= item.size
                self._excused = self._bytes
                frame = item if isinstance(item, Frame) else await item.make()
                if frame is not None:
                    self._sink.send_frame(frame)
                if self._has_dropped and not self._queue:
                    self._has_dropped = False
                    self._sink.caught_up()
                if self._waiting and not self._queue:
                    waiting, self._waiting = self._waiting, []
                    for callback in waiting:
                        callback()
        finally:
            self._running = False

"""One frame to many: the only fan-out loop."""

from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Final, Protocol

from pondsocket_common import CloseCode

from ._frames import Batch, Frame
from ._state.backlog import leeway, make_room

_MAX_CHAINED: Final = 1_024  # as many as an outbox holds by default
# As an outbox's: what comes in one go, before anybody could work, is not held against the peer.
_PATIENCE: Final = 16


class Outlet(Protocol):
    """The narrow thing that a door lends to a session: where its bytes go out."""

    @property
    def pending(self) -> int:
        """How many frames it has taken and not yet written."""
        ...

    def push(self, frame: Frame) -> bool:
        """Take a frame; never waits. False: it is full, or has ended.

        Full it is only after it has dropped what may be dropped (`make_room`).
        """
        ...

    def push_batch(self, batch: Batch) -> bool:
        """Take all of its frames, as if each were pushed; False: not all of them."""
        ...

    def wait_for_room(self, callback: Callable[[], None], size: int) -> bool:
        """For those who have much to send, and must leave room for what is live.

        Returns:
            False where it is less than half full, with `size` bytes more. True: it is not, and
            calls back when it has written so much that it may be; once.
        """
        ...

    def end(
        self, code: CloseCode, reason: str, *, abort: bool, farewell: Frame | None = None
    ) -> None:
        """Write out what is queued, then the farewell, and close. Idempotent.

        With `abort` the queue is dropped, and the farewell goes out only if it can at once.
        """
        ...


class Recipient(Protocol):
    """A member of a channel, as far as delivery is concerned."""

    def push(self, frame: Frame) -> bool:
        """Take a frame; False: it cannot, and is a slow consumer."""
        ...

    def push_batch(self, batch: Batch) -> bool:
        """Take several; False: not all of them."""
        ...

    def overflow(self) -> None:
        """End the connection of a slow consumer."""
        ...


def deliver(frame: Frame, recipients: Iterable[Recipient]) -> None:
    """Offer a frame to everyone; whoever cannot take it is closed, and nobody else notices."""
    slow = [recipient for recipient in recipients if not recipient.push(frame)]
    # Only now: closing takes members out of the very roster that was iterated.
    for recipient in slow:
        recipient.overflow()


def deliver_batches(batches: Iterable[tuple[Batch, Iterable[Recipient]]]) -> None:
    """The same for frames that leave together, of which not everyone gets the same."""
    slow = [
        recipient
        for batch, recipients in batches
        for recipient in recipients
        if not recipient.push_batch(batch)
    ]
    # Only when all have theirs: that somebody is closed is told to the others.
    for recipient in slow:
        recipient.overflow()


def push_each(push: Callable[[Frame], bool], batch: Batch) -> bool:
    """Push the frames of a batch one by one, until one is not taken."""
    return all(map(push, batch.frames))


class LateFrame:
    """A frame that an asynchronous outgoing handler still has to make, or to withhold.

    Until then it is as large as the broadcast that it is made of, and may be dropped like that.
    """

    __slots__ = ("channel", "conflate_key", "droppable", "make", "size")

    def __init__(self, make: Callable[[], Awaitable[Frame | None]], original: Frame) -> None:
        self.make = make
        self.size = original.size
        self.channel = original.channel
        self.droppable = original.droppable
        self.conflate_key = original.conflate_key


class Line(Protocol):
    """What a chain ends in: a connection."""

    def push(self, frame: Frame) -> bool:
        """Take a frame; False: it cannot."""
        ...

    def send(self, frame: Frame) -> None:
        """Take a frame, or be closed as a slow consumer."""
        ...

    def dropped(self, frames: int) -> None:
        """So many frames were dropped on their way to it, which may be."""
        ...

    def caught_up(self) -> None:
        """None are waiting any more where some were dropped."""
        ...

    def spawn(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run something in a task that ends with the connection."""
        ...


class Chain:
    """The frames of one channel on their way to one member, where some take their time.

    An asynchronous outgoing handler must not let later frames of its channel overtake, nor delay
    other channels: so each member has one chain, worked by one task as long as it is not empty.
    What waits in it is bounded, and dropped where it may be, as in an outbox.
    """

    __slots__ = (
        "__weakref__", "_bytes", "_excused", "_has_dropped", "_line", "_max_bytes", "_queue",
        "_running", "_waiting",
    )  # fmt: skip

    def __init__(self, line: Line, max_bytes: int) -> None:
        self._line = line
        self._max_bytes = max_bytes
        self._queue: deque[Frame | LateFrame] = deque()
        self._bytes = 0
        self._excused = 0  # bytes that waited before the present frame was begun
        self._has_dropped = False
        self._running = False
        self._waiting: list[Callable[[], None]] = []

    def wait_for_room(self, callback: Callable[[], None], size: int) -> bool:
        """As an outlet's: False where there is room, else it calls back when it is empty."""
        frames, held = len(self._queue), self._bytes
        if not frames or (2 * frames < _MAX_CHAINED and 2 * (held + size) <= self._max_bytes):
            return False
        self._waiting.append(callback)
        return True

    def push(self, frame: Frame) -> bool:
        """Take a frame that is ready."""
        if not self._running:
            return self._line.push(frame)
        return self._append(frame)

    def push_batch(self, batch: Batch) -> bool:
        """Take several."""
        return push_each(self.push, batch)

    def push_late(self, late: LateFrame) -> bool:
        """Take a frame that is still to be made."""
        if not self._append(late):
            return False
        if not self._running:
            self._running = True
            self._excused = self._max_bytes * _PATIENCE
            self._line.spawn(self._work)
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
            self._line.dropped(freed.frames)
        return not self._queue or (freed.frames >= frames and freed.bytes >= size)

    async def _work(self) -> None:
        try:
            while self._queue:
                item = self._queue.popleft()
                self._bytes -= item.size
                self._excused = self._bytes
                frame = item if isinstance(item, Frame) else await item.make()
                if frame is not None:
                    self._line.send(frame)
                if self._has_dropped and not self._queue:
                    self._has_dropped = False
                    self._line.caught_up()
                if self._waiting and not self._queue:
                    waiting, self._waiting = self._waiting, []
                    for callback in waiting:
                        callback()
        finally:
            self._running = False

"""The bounded queue of frames that wait to be written to one peer.

Frames count until they are written, so a `send` that is stuck fills it. Most peers never need one.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from pondsocket import Options
from pondsocket.adapter import Frame, leeway, make_room

# A peer is not slow before the writer has had its turn: a busy channel, or a handler that blocks,
# fills an outbox in one turn of the event loop. Until the writer begins, the queue may hold this
# many times its bound. What it holds then does not count while it is written: on some servers every
# `send` waits, however fast the peer reads.
_PATIENCE: Final = 16


class OutboundQueue:
    """The queue of one connection.

    Args:
        dropped: Called with the number of frames that were dropped to make room.

    Attributes:
        queued: The frames that no `send` has begun to write.
        frames: How many frames are not written, those in the server's `send` included.
        bytes: The same in bytes.
        is_writing: Whether the writer is in the server's `send`.
        has_dropped: Whether frames were dropped since the queue was last empty.
    """

    __slots__ = (
        "_dropped",
        "_excused_bytes",
        "_excused_frames",
        "_max_bytes",
        "_max_frames",
        "_waiting",
        "bytes",
        "frames",
        "has_dropped",
        "is_writing",
        "queued",
    )

    def __init__(self, options: Options, dropped: Callable[[int], None]) -> None:
        self._max_frames = options.outbox_frames
        self._max_bytes = options.outbox_bytes
        self._dropped = dropped
        self._excused_frames = 0
        self._excused_bytes = 0
        self._waiting: list[Callable[[], None]] = []
        self.queued: deque[Frame] = deque()
        self.frames = 0
        self.bytes = 0
        self.is_writing = False
        self.has_dropped = False

    def append(self, frame: Frame) -> bool:
        """Queue a frame. False if the queue is full and has no frames that may be dropped."""
        size = self.bytes + frame.size
        if self.frames and (size > self._max_bytes or self.frames >= self._max_frames):
            if not self._has_room_for(frame):
                return False
            size = self.bytes + frame.size
        self.frames += 1
        self.bytes = size
        self.queued.append(frame)
        return True

    def _has_room_for(self, frame: Frame) -> bool:
        max_frames, max_bytes = self._max_frames, self._max_bytes
        if self.is_writing:
            max_frames += self._excused_frames
            max_bytes += self._excused_bytes
        else:
            max_frames *= _PATIENCE
            max_bytes *= _PATIENCE
        frames = self.frames + 1 - max_frames
        size = self.bytes + frame.size - max_bytes
        if frames <= leeway(frame, max_frames) and size <= leeway(frame, max_bytes):
            return True
        freed = make_room(self.queued, frame, frames, size)
        if freed.frames:
            self.frames -= freed.frames
            self.bytes -= freed.bytes
            self.has_dropped = True
            self._dropped(freed.frames)
        # A frame that is larger than the whole bound passes alone: it would never fit.
        return not self.frames or (freed.frames >= frames and freed.bytes >= size)

    def begin_writing(self) -> None:
        """Note that the writer begins. If the queue is over its bound now, that is excused."""
        is_much = self.frames > self._max_frames or self.bytes > self._max_bytes
        self._excused_frames = self.frames if is_much else 0
        self._excused_bytes = self.bytes if is_much else 0
        self.is_writing = True

    def wrote(self, frames: int, size: int) -> None:
        """Note that so many frames and bytes were written."""
        self.frames -= frames
        self.bytes -= size
        if self._waiting:
            self._offer_room()

    def wait_for_room(self, callback: Callable[[], None], size: int) -> bool:
        """Return whether the queue is half full, or would be with `size` more bytes.

        If so, it calls `callback` when it is down to a quarter.
        """
        frames, held = self.frames, self.bytes
        if not frames or (2 * frames < self._max_frames and 2 * (held + size) <= self._max_bytes):
            return False
        self._waiting.append(callback)
        return True

    def _offer_room(self) -> None:
        # At a quarter, so that a caller that waited has room for more than one frame.
        if not self.frames or (
            4 * self.frames < self._max_frames and 4 * self.bytes < self._max_bytes
        ):
            waiting, self._waiting = self._waiting, []
            for callback in waiting:
                callback()
            # The first of them has most likely filled the queue again: next time it is the last.
            self._waiting = self._waiting[1:] + self._waiting[:1]

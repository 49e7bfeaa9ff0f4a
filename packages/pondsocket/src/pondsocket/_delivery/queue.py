"""The one bounded queue: frames that wait for one connection. Pure.

Before the writer begins, a full queue does not mean that the peer is slow: a busy channel, or a
handler that blocks, can fill it in one turn of the event loop. So until then the queue may hold
`_PATIENCE` times its bound. What it holds over its bound when the writer begins is excused: it does
not count against the bound. On some servers every `send` waits, however fast the peer reads.

A full queue drops what may be dropped (`dropping`). If that frees too little, it refuses the frame,
and the connection is a slow consumer.
"""

from collections import deque
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from .dropping import Droppable, leeway, make_room

# How many times its bound a queue may hold before its writer begins.
_PATIENCE: Final = 16

F = TypeVar("F", bound=Droppable)


class BoundedQueue(Generic[F]):
    """Frames in order, within a bound of frames and one of bytes.

    It is emptied in one of two ways. A writer takes frames from `queued` after `begin_writing`, and
    they count until `wrote`, so that a `send` that is stuck fills the queue. Or `take` returns one
    frame after the other, and they count no more.

    Args:
        dropped: Called with the number of frames that were dropped to make room.

    Attributes:
        queued: The frames that are not taken.
        frames: How many frames count against the bound.
        bytes: The same, in bytes.
        is_writing: Whether the writer has begun. The writer sets it to False when there is nothing
            left to write.
        has_dropped: Whether frames were dropped since this was last set to False.
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

    def __init__(self, max_frames: int, max_bytes: int, dropped: Callable[[int], None]) -> None:
        self._max_frames = max_frames
        self._max_bytes = max_bytes
        self._dropped = dropped
        self._excused_frames = 0
        self._excused_bytes = 0
        self._waiting: list[Callable[[], None]] = []
        self.queued: deque[F] = deque()
        self.frames: int = 0
        self.bytes: int = 0
        self.is_writing: bool = False
        self.has_dropped: bool = False

    def append(self, frame: F) -> bool:
        """Queue a frame. False if the queue is full and has no frames that may be dropped."""
        held = frame.held
        if not held:
            held = frame.weigh()
            # Before that, the writer most likely takes it within this turn of the event loop.
            if self.is_writing:
                frame.compact()
        size = self.bytes + held
        if self.frames and (size > self._max_bytes or self.frames >= self._max_frames):
            if not self._has_room_for(frame):
                return False
            size = self.bytes + held
        self.frames += 1
        self.bytes = size
        self.queued.append(frame)
        return True

    def _has_room_for(self, frame: F) -> bool:
        max_frames, max_bytes = self._max_frames, self._max_bytes
        if self.is_writing:
            max_frames += self._excused_frames
            max_bytes += self._excused_bytes
        else:
            max_frames *= _PATIENCE
            max_bytes *= _PATIENCE
        frames = self.frames + 1 - max_frames
        size = self.bytes + frame.held - max_bytes
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

    def compact(self) -> None:
        """Have what is queued hold no more than is needed: the writer hangs."""
        for frame in self.queued:
            frame.compact()

    def clear(self) -> None:
        """Remove all frames that are not taken: they will not be written."""
        self.frames -= len(self.queued)
        self.bytes -= sum([frame.held for frame in self.queued])
        self.queued.clear()

    # --- emptied by a writer ------------------------------------------------------------------

    def begin_writing(self) -> None:
        """Note that the writer begins. If the queue is over its bound, all of it is excused.

        All, because the writer takes all of it now, and what comes meanwhile has the whole bound.
        """
        is_much = self.frames > self._max_frames or self.bytes > self._max_bytes
        self._excused_frames = self.frames if is_much else 0
        self._excused_bytes = self.bytes if is_much else 0
        self.is_writing = True

    def note_begun(self, frames: int, size: int) -> None:
        """Count frames that a `send` has begun to write, and that were never queued."""
        self.frames += frames
        self.bytes += size

    def wrote(self, frames: int, size: int) -> None:
        """Note that so many frames and bytes were written."""
        self.frames -= frames
        self.bytes -= size
        if self._waiting:
            self.offer_room()

    # --- emptied frame by frame ---------------------------------------------------------------

    def take(self) -> F:
        """Remove and return the oldest frame. What is left over the bound is excused.

        Only the excess is excused, so that the queue does not grow from one call to the next.
        """
        frame = self.queued.popleft()
        self.frames -= 1
        self.bytes -= frame.held
        self._excused_frames = max(0, self.frames - self._max_frames)
        self._excused_bytes = max(0, self.bytes - self._max_bytes)
        self.is_writing = True
        return frame

    # --- room ---------------------------------------------------------------------------------

    def wait_for_room(self, callback: Callable[[], None], size: int) -> bool:
        """Return whether the queue is half full, or would be with `size` more bytes.

        If so, `callback` is called when it is down to a quarter.
        """
        frames, held = self.frames, self.bytes
        if not frames or (2 * frames < self._max_frames and 2 * (held + size) <= self._max_bytes):
            return False
        self._waiting.append(callback)
        return True

    def offer_room(self) -> None:
        """Call the callbacks of `wait_for_room`, if there is room. `wrote` calls this itself."""
        # At a quarter, so that a caller that waited has room for more than one frame.
        if not self.frames or (
            4 * self.frames < self._max_frames and 4 * self.bytes < self._max_bytes
        ):
            waiting, self._waiting = self._waiting, []
            for callback in waiting:
                callback()
            # The first callback has most likely filled the queue again: next time it comes last.
            self._waiting = self._waiting[1:] + self._waiting[:1]

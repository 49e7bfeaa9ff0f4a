"""What waits to be written to one peer, and the life of its connection around it.

Any code may `push`, which never waits. One writer takes everything queued at once, and sleeps
while there is nothing. Frames count against the bound until they are written, so a writer that
is stuck in the server's `send` fills this outbox and delays nobody else.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final, NamedTuple

import anyio
from pondsocket import Frame, Options, Session
from pondsocket_common import CloseCode

from ._scope import Message, Send

logger = logging.getLogger("pondsocket.asgi.transport")

# A peer that reads at all takes a full outbox in this time; waiting longer only holds memory.
WRITE_OUT_SECONDS: Final = 5.0
# A writer that is not in `send` has only not had its turn of the event loop: a busy room, or a
# handler that blocks, fills an outbox before anybody could have written, and the peer is not slow
# for it. So it may hold this much more until then.
_PATIENCE: Final = 16
# Room for a close frame to a peer that was given up, most likely because it does not read.
ABORT_SECONDS: Final = 1.0


class PeerGone(Exception):  # noqa: N818 - it happens every day and is nobody's error
    """The server could not send: the peer has left."""


async def put(send: Send, message: Message) -> None:
    """Send one ASGI message.

    Raises:
        PeerGone: Whatever `send` raised. The specification says OSError; servers that are
            closing the connection themselves raise RuntimeError as well.
    """
    try:
        await send(message)
    except Exception as error:
        raise PeerGone from error


class Closing(NamedTuple):
    """How a connection is to end."""

    code: CloseCode
    reason: str
    abort: bool


class Outbox(ABC):
    """A session's outlet: a bounded queue of frames and the one writer that empties it."""

    def __init__(self, send: Send, session: Session, options: Options) -> None:
        self._send = send
        self._session = session
        self._max_frames = options.outbox_frames
        self._max_bytes = options.outbox_bytes
        self._queued: list[Frame] = []
        self._unwritten_frames = 0
        self._unwritten_bytes = 0
        self._wake: anyio.Event | None = None
        self._closing: Closing | None = None
        self._lost = False

    @property
    def pending(self) -> int:
        """How many frames are not written yet."""
        return self._unwritten_frames

    def push(self, frame: Frame) -> bool:
        """Queue a frame; False where the outbox is full or the connection is ending."""
        # Once for every recipient of every broadcast, so nothing here is a call that need not be.
        if self._lost or self._closing is not None:
            return False
        size = self._unwritten_bytes + frame.size
        # One frame that is larger than the whole bound passes alone: no reading would help it.
        if self._unwritten_frames and (
            size > self._max_bytes or self._unwritten_frames >= self._max_frames
        ):
            is_writing = self._unwritten_frames > len(self._queued)
            if is_writing or size > _PATIENCE * self._max_bytes:
                return False
            if self._unwritten_frames >= _PATIENCE * self._max_frames:
                return False
        self._unwritten_frames += 1
        self._unwritten_bytes = size
        self._queued.append(frame)
        if self._wake is not None:
            self._wake.set()
            self._wake = None
        return True

    def end(self, code: CloseCode, reason: str, *, abort: bool) -> None:
        """Close after what is queued, or (abort) without it; only the first call counts."""
        if self._closing is None:
            self._closing = Closing(code, reason, abort)
            if abort:
                self._queued.clear()
            self.nudge()

    def lose(self) -> None:
        """The peer is gone: nothing is written any more."""
        self._lost = True
        self._queued.clear()
        self.nudge()

    def nudge(self) -> None:
        """Wake the writer if it sleeps."""
        if self._wake is not None:
            self._wake.set()
            self._wake = None

    async def run(self) -> None:
        """Run the session over this outlet until both have ended."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.write)
            await self._session.run(self, self.pull)
            aborted = self._closing is None or self._closing.abort
            seconds = ABORT_SECONDS if aborted else WRITE_OUT_SECONDS
            # The group's end waits for the writer, and no longer than this.
            tasks.cancel_scope.deadline = anyio.current_time() + seconds

    async def write(self) -> None:
        """Write what is queued until the connection ends; then close it if it is still there."""
        try:
            await self._open()
            while self._queued or not self._is_ending:
                if not self._queued:
                    # An event is made only to sleep on: it costs more than writing a frame.
                    self._wake = anyio.Event()
                    await self._wake.wait()
                if frames := self._take():
                    await self._write(frames)
                elif not self._is_ending:
                    await self._keep_alive()
            if self._closing is not None and not self._lost:
                await self._close(self._closing)
        except PeerGone as gone:
            logger.debug("A peer left while it was written to: %r", gone.__cause__)
            self.lose()
            self._session.close(CloseCode.NORMAL, "The peer is gone.")

    def _take(self) -> Sequence[Frame]:
        taken, self._queued = self._queued, []
        return taken

    def _written(self, frame: Frame) -> None:
        self._unwritten_frames -= 1
        self._unwritten_bytes -= frame.size

    @property
    def _is_ending(self) -> bool:
        return self._lost or self._closing is not None

    @property
    def _is_dropping(self) -> bool:
        return self._lost or (self._closing is not None and self._closing.abort)

    @abstractmethod
    async def pull(self) -> str | bytes | None:
        """The next message of the peer; None when it is gone."""

    @abstractmethod
    async def _open(self) -> None: ...

    @abstractmethod
    async def _write(self, frames: Sequence[Frame]) -> None: ...

    @abstractmethod
    async def _keep_alive(self) -> None: ...

    @abstractmethod
    async def _close(self, closing: Closing, /) -> None: ...

"""What waits to be written to one peer, and the life of its connection around it.

Any code may `push`, which never waits. One writer takes what is queued, and sleeps while there is
nothing. Frames count against the bound until they are written, so a writer that is stuck in the
server's `send` fills this outbox and delays nobody else.
"""

import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

import anyio
import anyio.abc
from pondsocket import Frame, Session, leeway, make_room
from pondsocket_common import CloseCode

from ._pulse import Pulse
from ._scope import Message, Receive, Scope, Send, is_old_http
from ._servers import abort_transport, hurry_transport
from ._sockets import hurry_connection, reset_connection

logger = logging.getLogger("pondsocket.asgi.transport")

# A peer that reads at all takes a full outbox in this time; waiting longer only holds memory.
WRITE_OUT_SECONDS: Final = 5.0
# A writer that is not in `send` has only not had its turn of the event loop: a busy room, or a
# handler that blocks, fills an outbox before anybody could have written, and the peer is not slow
# for it. So it may hold this many times as much until then; and what it holds then is not counted
# while it is written: on some servers every `send` waits, however quickly the peer reads.
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
    farewell: Frame | None


class Outbox(ABC):
    """A session's outlet: a bounded queue of frames and the one writer that empties it.

    Args:
        quiet_seconds: After how long without a write the peer is to hear something; None: never.
    """

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        session: Session,
        pulse: Pulse,
        *,
        quiet_seconds: float | None,
    ) -> None:
        options = session.options
        self._scope = scope
        self._receive = receive
        self._send = send
        self._session = session
        self._pulse = pulse
        self._max_frames = options.outbox_frames
        self._max_bytes = options.outbox_bytes
        self._write_timeout = options.write_timeout
        self._quiet_limit = quiet_seconds
        self._queued: deque[Frame] = deque()
        self._unwritten_frames = 0
        self._unwritten_bytes = 0
        self._excused_frames = 0
        self._excused_bytes = 0
        self._wake: anyio.Event | None = None
        self._closing: Closing | None = None
        self._lost = False
        self._has_dropped = False
        self._waiting: list[Callable[[], None]] = []
        self._tasks: anyio.abc.TaskGroup | None = None
        # For the pulse, which sees by them whether anything was written since it last looked.
        self._is_writing = False
        self._writes = 0
        self._writes_seen = -1
        self._quiet_since = 0.0
        self._writer = anyio.CancelScope()
        self._written: anyio.Event | None = None
        self._has_ended = False
        self._is_cut_off = False

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
        if self._unwritten_frames and (
            size > self._max_bytes or self._unwritten_frames >= self._max_frames
        ):
            if not self._has_room_for(frame):
                return False
            size = self._unwritten_bytes + frame.size
        self._unwritten_frames += 1
        self._unwritten_bytes = size
        self._queued.append(frame)
        if self._wake is not None:
            self._wake.set()
            self._wake = None
        return True

    def wait_for_room(self, callback: Callable[[], None], size: int) -> bool:
        """Whether it is half full, or would be with so many bytes more; then it calls back."""
        if self._lost or self._closing is not None:
            return True  # and never: nothing is sent any more
        frames, held = self._unwritten_frames, self._unwritten_bytes
        if not frames or (2 * frames < self._max_frames and 2 * (held + size) <= self._max_bytes):
            return False
        self._waiting.append(callback)
        return True

    def _offer_room(self) -> None:
        # At a quarter, so that whoever waits has room for more than a frame.
        if self._waiting and (
            not self._unwritten_frames
            or (
                4 * self._unwritten_frames < self._max_frames
                and 4 * self._unwritten_bytes < self._max_bytes
            )
        ):
            waiting, self._waiting = self._waiting, []
            for callback in waiting:
                callback()
            # Who came first filled it most likely: next time it comes last.
            self._waiting = self._waiting[1:] + self._waiting[:1]

    def _has_room_for(self, frame: Frame) -> bool:
        max_frames, max_bytes = self._max_frames, self._max_bytes
        if self._is_writing:
            max_frames += self._excused_frames
            max_bytes += self._excused_bytes
        else:
            max_frames *= _PATIENCE
            max_bytes *= _PATIENCE
        frames = self._unwritten_frames + 1 - max_frames
        size = self._unwritten_bytes + frame.size - max_bytes
        if frames <= leeway(frame, max_frames) and size <= leeway(frame, max_bytes):
            return True
        freed = make_room(self._queued, frame, frames, size)
        if freed.frames:
            self._unwritten_frames -= freed.frames
            self._unwritten_bytes -= freed.bytes
            self._has_dropped = True
            self._session.dropped(freed.frames)
        # One frame that is larger than the whole bound passes alone: no reading would help it.
        return not self._unwritten_frames or (freed.frames >= frames and freed.bytes >= size)

    def end(
        self, code: CloseCode, reason: str, *, abort: bool, farewell: Frame | None = None
    ) -> None:
        """Close after what is queued, or (abort) without it; only the first call counts."""
        if self._closing is None:
            self._closing = Closing(code, reason, farewell)
            if abort:
                self._queued.clear()
            # Not after `run`: handlers of a connection may take their time.
            if self._tasks is not None and not self._lost:
                if abort:
                    self._tasks.start_soon(self._give_up)
                elif self._is_writing:
                    self._tasks.start_soon(self._hurry)
            self._nudge()

    def lose(self) -> None:
        """The peer is gone: nothing is written any more."""
        self._lost = True
        self._queued.clear()
        self._nudge()

    def beat(self, now: float, interval: float) -> None:
        """See whether the writer hangs, or the peer has heard nothing for long."""
        if self._writes != self._writes_seen:
            self._writes_seen = self._writes
            self._quiet_since = now
            return
        quiet = now - self._quiet_since
        if self._is_writing:
            if quiet >= self._write_timeout and self._session.is_open:
                self._session.overflow()
        # The last write was up to a beat before it was seen, and the next beat may be too late:
        # rather two beats too early, as proxies are exact.
        elif self._quiet_limit is not None and quiet >= self._quiet_limit - 2 * interval:
            self._quiet_since = now
            self._keep_alive()

    def _nudge(self) -> None:
        if self._wake is not None:
            self._wake.set()
            self._wake = None

    async def run(self) -> None:
        """Run the session over this outlet until both have ended."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            self._pulse.add(self, tasks)
            try:
                tasks.start_soon(self._run_writer)
                await self._session.run(self, self.pull)
                await self._see_off(WRITE_OUT_SECONDS)
            finally:
                self._pulse.remove(self)
                # Cancelled, by the server or by the host application, in the middle of a write.
                if self._is_writing and is_old_http(self._scope):
                    with anyio.CancelScope(shield=True):
                        await self._cut_off()

    async def _give_up(self) -> None:
        await self._hurry()
        await self._see_off(ABORT_SECONDS)

    async def _hurry(self) -> None:
        # The last words may get no further than into buffers, the server's and the system's, which
        # then wait for the peer to read. The writer would seem done, and the socket would stay.
        # Of a socket that is shared this would be a limit for everybody on it.
        if is_old_http(self._scope) and not hurry_transport(self._receive):
            await hurry_connection(self._scope)

    async def _see_off(self, seconds: float) -> None:
        """Wait for the writer's end, and no longer than this."""
        if await self._has_ended_within(seconds):
            return
        if not is_old_http(self._scope):
            # The socket carries other requests too, behind some proxies those of other peers.
            self._writer.cancel()
            if await self._has_ended_within(ABORT_SECONDS):
                return
        # First the socket: some servers' `send` cannot be cancelled while it is stuck, and none
        # frees the socket of a peer that does not read.
        await self._cut_off()
        self._writer.cancel()

    async def _has_ended_within(self, seconds: float) -> bool:
        if not self._has_ended:
            if self._written is None:
                self._written = anyio.Event()
            with anyio.move_on_after(seconds):
                await self._written.wait()
        return self._has_ended

    async def _cut_off(self) -> None:
        if not self._is_cut_off:
            self._is_cut_off = True
            # The server's own transport is this connection for certain. By its addresses it is
            # found among all of the process, and a client whom a proxy lets name them may lie.
            if not abort_transport(self._receive):
                await reset_connection(self._scope)

    async def _run_writer(self) -> None:
        try:
            with self._writer:
                await self._write()
            self._is_writing = False
        except PeerGone as gone:
            self._is_writing = False
            logger.debug("A peer left while it was written to: %r", gone.__cause__)
            self.lose()
            self._session.close(CloseCode.NORMAL, "The peer is gone.")
        finally:
            self._has_ended = True
            if self._written is not None:
                self._written.set()

    async def _write(self) -> None:
        """Write what is queued until the connection ends; then close it if it is still there."""
        self._is_writing = True
        self._writes += 1
        await self._open()
        self._is_writing = False
        while self._queued or not self._is_ending:
            if not self._queued:
                # An event is made only to sleep on: it costs more than writing a frame.
                self._wake = anyio.Event()
                await self._wake.wait()
            if self._queued:
                self._excuse()
                self._is_writing = True
                await self._write_queued()
                self._is_writing = False
                if self._has_dropped and not self._queued:
                    self._has_dropped = False
                    self._session.caught_up()
        if self._closing is not None and not self._lost:
            self._is_writing = True
            self._writes += 1
            await self._close(self._closing)

    def _excuse(self) -> None:
        """Do not hold against the peer what has come before the writer's turn, if it is much."""
        frames, size = self._unwritten_frames, self._unwritten_bytes
        is_much = frames > self._max_frames or size > self._max_bytes
        self._excused_frames = frames if is_much else 0
        self._excused_bytes = size if is_much else 0

    @property
    def _is_ending(self) -> bool:
        return self._lost or self._closing is not None

    @abstractmethod
    async def pull(self) -> str | bytes | None:
        """The next message of the peer; None when it is gone."""

    @abstractmethod
    async def _open(self) -> None: ...

    @abstractmethod
    async def _write_queued(self) -> None:
        """Write the whole queue, counting each write in `_writes` when it begins."""

    @abstractmethod
    def _keep_alive(self) -> None:
        """Queue something, so that nobody on the way takes the connection for dead."""

    @abstractmethod
    async def _close(self, closing: Closing, /) -> None: ...

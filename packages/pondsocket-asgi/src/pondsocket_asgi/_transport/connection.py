"""The life of one connection, whatever its transport: opened, served, ended, and cut off."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from typing import Any, Final

import anyio
from pondsocket.adapter import Batch, BoundedQueue, Frame, Session
from pondsocket_common import CloseCode

from pondsocket_asgi._scope import Receive, Scope
from pondsocket_asgi._sending.server_send import ServerSend

from .heartbeat import Heartbeat, QuietClock, Starter
from .peer_socket import PeerSocket
from .writer import Closing, Writer, WriterTask

# A peer that reads at all reads a full queue in this time; waiting longer only holds memory.
WRITE_OUT_SECONDS: Final = 5.0
# Time for a close frame to a peer that is aborted, most likely because it does not read.
ABORT_SECONDS: Final = 1.0


class Connection(ABC):
    """A session's outlet, with what runs for the connection: its writer, its clock, its tasks.

    Args:
        quiet_seconds: After how long without a write to send a heartbeat; None: never.
    """

    __slots__ = (
        "_context",
        "_heartbeat",
        "_peer_socket",
        "_quiet_clock",
        "_receive",
        "_session",
        "_tasks",
        "_writer",
    )

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: ServerSend,
        session: Session,
        heartbeat: Heartbeat,
        *,
        quiet_seconds: float | None,
    ) -> None:
        self._receive = receive
        self._session = session
        self._heartbeat = heartbeat
        self._writer = Writer(send, session)
        self._peer_socket = PeerSocket(scope, receive)
        self._quiet_clock = QuietClock(quiet_seconds)
        self._context = copy_context()
        self._tasks: Starter | None = None

    # --- the outlet ---------------------------------------------------------------------------

    @property
    def pending(self) -> int:
        """How many frames are not written yet."""
        return self._writer.pending

    @abstractmethod
    def offer(self, frame: Frame) -> bool:
        """Write or queue a frame. False if the queue is full or the connection is ending."""

    def offer_batch(self, batch: Batch) -> bool:
        """Write or queue several frames. False if not all of them were accepted."""
        return all(map(self.offer, batch.frames))

    def wait_for_room(self, callback: Callable[[], None], size: int) -> bool:
        """Ask for room, like `Outlet.wait_for_room`."""
        return self._writer.wait_for_room(callback, size)

    def end(
        self, code: CloseCode, reason: str, *, abort: bool, goodbye: Frame | None = None
    ) -> None:
        """Close the connection after what is queued, or, with `abort`, without writing that.

        Only the first call counts.
        """
        writer = self._writer
        if writer.end(Closing(code, reason, goodbye), abort=abort):
            # Now, and not after the session's `run`, which waits for the handlers.
            if abort:
                self._start(self._give_up)
            elif writer.is_in_send:
                self._start(self._peer_socket.hurry)
            writer.start_or_wake()

    # --- its life -----------------------------------------------------------------------------

    async def run(self) -> None:
        """Run the session over this outlet until both have ended."""
        async with self._session.environment.loop.new_side_tasks() as tasks:
            self._tasks = tasks
            try:
                self._heartbeat.add(self, tasks)
                self._writer.open(self)
                await self._run_session()
                await self._wait_for_writer(WRITE_OUT_SECONDS)
                self._peer_socket.hurry_if_behind()
            finally:
                self._heartbeat.remove(self)
                self._writer.detach()
                # Cancelled by the server or the host application in the middle of a write.
                if self._writer.is_in_send and not self._peer_socket.is_shared:
                    with anyio.CancelScope(shield=True):
                        await self._peer_socket.cut_off()

    def _run_session(self) -> Coroutine[Any, Any, None]:
        """Return what runs the session, to be awaited."""
        return self._session.run(self, self.pull, self._context)

    def start_writer(self, task: WriterTask) -> None:
        """Start the task of the writer."""
        self._start(self._writer.run, task, self)

    def _start(self, work: Callable[..., Coroutine[Any, Any, None]], *arguments: object) -> None:
        """Start a task in the connection's context, not in the caller's.

        The caller may be a callback of the loop and not a task, and there anyio makes no scope.
        """
        if self._tasks is not None:
            self._context.copy().run(self._tasks.start_soon, work, *arguments)

    def lose(self) -> None:
        """Note that the peer has disconnected: nothing is written any more."""
        self._writer.lose()

    def beat(self, now: float, interval: float) -> None:
        """Check whether a write or a close hangs, or a heartbeat is due. Called by `Heartbeat`."""
        self._peer_socket.end_close()
        writer, clock, session = self._writer, self._quiet_clock, self._session
        quiet = clock.seconds(now, writer.writes)
        if writer.is_writing:
            # What was queued before it hung, or first for others, is not compact.
            writer.compact()
            if quiet >= session.options.write_timeout and session.is_open:
                session.overflow()
        elif clock.growth(self._unsent()) > session.options.outbox_bytes:
            # The server answers the peer's pings by itself, and the peer does not read the answers.
            self._peer_socket.stop_reading()
            session.overflow()
        elif clock.is_heartbeat_due(quiet, interval):
            clock.restart(now)
            self._keep_alive()

    async def _give_up(self) -> None:
        await self._peer_socket.hurry()
        await self._wait_for_writer(ABORT_SECONDS)

    async def _wait_for_writer(self, seconds: float) -> None:
        """Wait for the writer to end; after so many seconds, cut the connection."""
        writer = self._writer
        if await writer.ended_within(seconds):
            return
        if self._peer_socket.is_shared:
            writer.cancel()
            if await writer.ended_within(ABORT_SECONDS):
                return
        # First the socket: on some servers a stuck `send` cannot be cancelled, and no server frees
        # the socket of a peer that does not read.
        await self._peer_socket.cut_off()
        writer.cancel()

    # --- what is particular to a transport ----------------------------------------------------

    def _unsent(self) -> int:
        """Return how many bytes the server holds that the peer has not taken; 0 if unknown."""
        return 0

    @abstractmethod
    async def pull(self) -> str | bytes | None:
        """Return the next message of the peer. None when it has disconnected."""

    @abstractmethod
    def _keep_alive(self) -> None:
        """Send a heartbeat, so that no proxy closes the connection as idle."""

    @abstractmethod
    async def write_opening(self) -> None:
        """Accept the connection."""

    @abstractmethod
    async def write_queued(self, queue: BoundedQueue[Frame], /) -> None:
        """Write the whole queue. Count each write in `Writer.writes` when it begins."""

    @abstractmethod
    async def write_closing(self, closing: Closing, /) -> None:
        """Write the goodbye, then the end of the connection."""
